package metrics

import (
	"errors"
	"strings"
	"testing"
)

func TestPersistenceIsAState(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	p := m.Persistence()
	shows := func(ok, failures float64) {
		t.Helper()
		values, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if got := values[`stateful_route_persistence_ok{what="bindings"}`]; got != ok {
			t.Errorf("persistence_ok is %v, want %v", got, ok)
		}
		if got, there := values[`stateful_route_persistence_failures_total{what="bindings"}`]; got != failures || !there {
			t.Errorf("persistence_failures_total is %v (served: %v), want %v", got, there, failures)
		}
	}
	p.Report(PersistedBindings, nil)
	shows(1, 0)
	p.Report(PersistedBindings, errors.New("no space left on device"))
	p.Report(PersistedBindings, errors.New("read-only file system"))
	shows(0, 2)
	p.Report(PersistedOrders, errors.New("no such file"))
	got := p.Degraded()
	if len(got) != 2 || !strings.HasPrefix(got[0], "bindings cannot be written") || !strings.HasSuffix(got[0], "read-only file system") ||
		!strings.HasPrefix(got[1], "orders ") {
		t.Errorf("degraded: %q", got)
	}
	p.Report(PersistedBindings, nil)
	p.Report(PersistedOrders, nil)
	shows(1, 2)
	if got := p.Degraded(); len(got) != 0 {
		t.Errorf("degraded after all was written: %q", got)
	}
	var none *Persistence
	none.Report(PersistedBindings, errors.New("nobody listens"))
	if none.Degraded() != nil {
		t.Error("a nil Persistence is degraded")
	}
}
