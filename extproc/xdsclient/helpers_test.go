package xdsclient

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The words of extproctest, shorter.
var (
	chat       = extproctest.Chat
	rejecting  = extproctest.Rejecting
	pods       = extproctest.Pods
	withState  = extproctest.WithState
	eventually = extproctest.Eventually
)

func newDirectory(t testing.TB) *extproc.Directory {
	d, _ := extproctest.NewDirectory(t)
	return d
}

func from(kind statefulroute.SourceKind, name string) statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: kind, Name: name}
}

func learning(s *statefulroute.Service) {
	s.Session.Learn = []statefulroute.SessionSource{
		from(statefulroute.FromHeader, "Mcp-Session-Id"), from(statefulroute.FromCookie, "JSESSIONID"),
	}
	s.Session.Key = append(s.Session.Key, s.Session.Learn...)
}

func issuing(s *statefulroute.Service) {
	s.Session.Issue = &statefulroute.IssuedCookie{Name: "stateful-route", TTL: 24 * time.Hour}
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

func stateOf(svc statefulroute.Service, p []statefulroute.Pod) wire.ServiceState {
	return wire.ServiceState{Service: svc, Pods: p}
}

func newTable(t testing.TB) extproc.MemoryTable {
	t.Helper()
	table, err := affinity.New(affinity.Options{Capacity: 1000, Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	return extproc.MemoryTable{Table: table}
}
