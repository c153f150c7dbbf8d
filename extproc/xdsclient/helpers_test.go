package xdsclient

import (
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The words of extproctest, shorter.
var (
	chat       = extproctest.Chat
	rejecting  = extproctest.Rejecting
	learning   = extproctest.Learning
	issuing    = extproctest.Issuing
	pods       = extproctest.Pods
	withState  = extproctest.WithState
	stateOf    = extproctest.StateOf
	fleet      = extproctest.Fleet
	eventually = extproctest.Eventually
)

func newDirectory(t testing.TB) *extproc.Directory {
	t.Helper()
	d, err := extproc.NewDirectory(extproc.DirectoryOptions{Monitor: extproctest.NewMonitor(t)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// inForce is the service chat as a directory has it; nil where it has none.
func inForce(d *extproc.Directory) *wire.ServiceState {
	services := d.Services()
	i := slices.IndexFunc(services, func(s wire.ServiceState) bool { return s.Service.Name == "chat" })
	if i < 0 {
		return nil
	}
	return &services[i]
}

func podCount(d *extproc.Directory) int {
	if s := inForce(d); s != nil {
		return len(s.Pods)
	}
	return -1
}
