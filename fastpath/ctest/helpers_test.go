//go:build cgo && linux

package ctest

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/module"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tables are one table as Go writes it and as C reads it.
type tables struct {
	path   string
	writer *fastpath.Table
	core   *module.Table
}

// newTables makes a table of the service chat with three pods.
func newTables(t testing.TB, sources ...statefulroute.SessionSource) *tables {
	t.Helper()
	path := filepath.Join(t.TempDir(), "table")
	w, err := fastpath.Create(fastpath.Options{Path: path, Capacity: 1000, Pods: 8, Services: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(false); err != nil {
			t.Error(err)
		}
	})
	set := &tables{path: path, writer: w}
	set.policy(t, statefulroute.SessionPolicy{Key: sources})
	for i := range 3 {
		if err := w.SetPod("chat", podName(i), podAddress(i), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Activate(); err != nil {
		t.Fatal(err)
	}
	if set.core, err = module.Open(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.core.Close)
	return set
}

// policy has chat's sessions be named so.
func (s *tables) policy(t testing.TB, p statefulroute.SessionPolicy) {
	t.Helper()
	p.FastPath = true
	if err := s.writer.SetService(statefulroute.Service{Name: "chat", Session: p}); err != nil {
		t.Fatal(err)
	}
}

func podName(i int) string { return fmt.Sprint("chat-", i) }

func podAddress(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(9100+i))
}
