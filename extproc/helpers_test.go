package extproc

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// t0 is the beginning of time in tests of pure parts.
var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// The words of extproctest, shorter.
var (
	from       = extproctest.From
	chat       = extproctest.Chat
	rejecting  = extproctest.Rejecting
	learning   = extproctest.Learning
	issuing    = extproctest.Issuing
	pods       = extproctest.Pods
	withState  = extproctest.WithState
	stateOf    = extproctest.StateOf
	fleet      = extproctest.Fleet
	newTable   = extproctest.NewTable
	eventually = extproctest.Eventually
	checkSpans = extproctest.CheckSpans
	played     = extproctest.Played
)

// raw builds headers as Envoy sends them, from name, value pairs.
func raw(pairs ...string) sessionkey.Headers {
	var h sessionkey.Headers
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, sessionkey.Header{Key: pairs[i], Value: pairs[i+1]})
	}
	return h
}

// envoyHeaders are the same on the wire.
func envoyHeaders(pairs ...string) (h []*corev3.HeaderValue) {
	for _, v := range raw(pairs...) {
		h = append(h, &corev3.HeaderValue{Key: v.Key, RawValue: []byte(v.Value)})
	}
	return h
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
	d, err := NewDirectory(DirectoryOptions{Monitor: extproctest.NewMonitor(t)})
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
