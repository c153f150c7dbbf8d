package wire_test

import (
	"fmt"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// xds-server writes a service's policy into its cluster's metadata, and extproc reads
// it there.
func ExampleEncodeService() {
	chat := statefulroute.Service{Name: "chat", Session: statefulroute.SessionPolicy{
		Key: []statefulroute.SessionSource{{Kind: statefulroute.FromCookie, Name: "session"}}, OnPodLoss: statefulroute.Rebind,
	}}
	metadata, err := wire.EncodeService(chat)
	if err != nil {
		fmt.Println(err)
		return
	}
	read, err := wire.DecodeService("chat", metadata)
	fmt.Println(read.Session.Key[0].Name, read.Session.OnPodLoss, err)
	// Output: session rebind <nil>
}
