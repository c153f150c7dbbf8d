package fastpath

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
)

// A pod for which the file system has no room is left out, and its record is not touched: to
// touch a hole that cannot be filled ends the process.
func TestAPodWithoutRoomIsLeftOut(t *testing.T) {
	table, err := Create(Options{Path: filepath.Join(t.TempDir(), "table"), Capacity: 1, Pods: 2, Services: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := table.SetService(statefulroute.Service{Name: "chat"}); err != nil {
		t.Fatal(err)
	}
	if err := table.open.Close(); err != nil { // nothing can be allocated any more
		t.Fatal(err)
	}
	err = table.SetPod("chat", "chat-0", netip.MustParseAddrPort("127.0.0.1:1"), true)
	if err == nil || !strings.Contains(err.Error(), "no room for its record") {
		t.Errorf("got %v", err)
	}
	if table.Publish("chat", "s", "chat-0", 0, 0) || table.fresh != 1 {
		t.Errorf("it is there, and %d records are in use", table.fresh)
	}
	if err := unmap(table.mem); err != nil {
		t.Error(err)
	}
}
