package extproc

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// t0 is the beginning of time in tests of pure parts.
var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// raw builds headers as Envoy sends them, from name, value pairs.
func raw(pairs ...string) sessionkey.Headers {
	var h sessionkey.Headers
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return h
}

func from(kind statefulroute.SourceKind, name string) statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: kind, Name: name}
}

// chat is a service with one header key; change adapts it.
func chat(change ...func(*statefulroute.Service)) statefulroute.Service {
	s := statefulroute.Service{
		Name: "chat",
		Session: statefulroute.SessionPolicy{
			Key:           []statefulroute.SessionSource{from(statefulroute.FromHeader, "x-session-id")},
			OnPodLoss:     statefulroute.Rebind,
			OnExtprocLoss: statefulroute.Allow,
		},
		Balancing: statefulroute.BalancingPolicy{Strategy: "round_robin"},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func rejecting(s *statefulroute.Service) { s.Session.OnPodLoss = statefulroute.Reject }

// pods returns n ready pods, chat-0 at 127.0.0.1:9100 and so on.
func pods(n int) []statefulroute.Pod {
	out := make([]statefulroute.Pod, n)
	for i := range out {
		out[i] = statefulroute.Pod{
			Name:    fmt.Sprintf("chat-%d", i),
			Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(9100+i)),
			Weight:  1,
		}
	}
	return out
}

func withState(p []statefulroute.Pod, name string, s statefulroute.PodState) []statefulroute.Pod {
	out := append([]statefulroute.Pod(nil), p...)
	for i := range out {
		if out[i].Name == name {
			out[i].State = s
		}
	}
	return out
}

func without(p []statefulroute.Pod, name string) []statefulroute.Pod {
	var out []statefulroute.Pod
	for _, q := range p {
		if q.Name != name {
			out = append(out, q)
		}
	}
	return out
}

func newTable(t testing.TB, change ...func(*affinity.Options)) *affinity.Table {
	t.Helper()
	o := affinity.Options{Capacity: 1000, Shards: 1}
	for _, c := range change {
		c(&o)
	}
	table, err := affinity.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// newMemory is a table as a server is given it.
func newMemory(t testing.TB) MemoryTable {
	t.Helper()
	return MemoryTable{Table: newTable(t)}
}

func newDirectory(t testing.TB, services ...wire.ServiceState) *Directory {
	t.Helper()
	d := newEmptyDirectory(t)
	d.Set(services, true)
	return d
}

// newEmptyDirectory is one that was told nothing yet.
func newEmptyDirectory(t testing.TB) *Directory {
	t.Helper()
	m, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDirectory(DirectoryOptions{Monitor: m})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// metric returns one value of the directory's monitor, 0 when it is not there.
func metric(t testing.TB, d *Directory, name string) float64 {
	t.Helper()
	all, err := d.opts.Monitor.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return all[name]
}

func stateOf(svc statefulroute.Service, p []statefulroute.Pod) wire.ServiceState {
	return wire.ServiceState{Service: svc, Pods: p}
}

// eventually polls: what it waits for happens in another process's stead.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("did not happen: %s", what)
		}
	}
}
