package metrics

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the what label of the persistence metrics: what is kept in files.
const (
	PersistedBindings = "bindings" // extproc's sessions
	PersistedOrders   = "orders"   // operators' orders, of xds-server
	PersistedServices = "services" // the last good services and pods
)

// Persistence is the one place where a process says whether what must outlive
// it can be written, and why not. What fails is a state, not an event: it shows
// in the metrics and as a detail of readiness until a write succeeds. The
// methods may be called from any goroutine, those of a nil Persistence do
// nothing.
type Persistence struct {
	failures *prometheus.CounterVec
	ok       *prometheus.GaugeVec

	mu      sync.Mutex
	failing map[string]error
}

func newPersistence() *Persistence {
	return &Persistence{
		failures: counter("persistence_failures_total", "Failed attempts to write what must outlive the process: bindings, orders or services.", "what"),
		ok:       gauge("persistence_ok", "Whether what must outlive the process can be written: 1, or 0 since the last attempt failed.", "what"),
		failing:  make(map[string]error),
	}
}

// Persistence returns where the process's writers report.
func (m *Monitor) Persistence() *Persistence { return m.persistence }

// Report says how the latest attempt to write something ended: nil is success.
// The first report of a kind, a success at the start, makes its series appear.
func (p *Persistence) Report(what string, err error) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	failures, ok := p.failures.WithLabelValues(what), p.ok.WithLabelValues(what)
	if err != nil {
		p.failing[what] = err
		failures.Inc()
		ok.Set(0)
		return
	}
	delete(p.failing, what)
	ok.Set(1)
}

// Degraded says what cannot be written and why, sorted; empty when all can.
func (p *Persistence) Degraded() []string {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, what := range slices.Sorted(maps.Keys(p.failing)) {
		out = append(out, fmt.Sprintf("%s cannot be written, a restart would lose changes: %v", what, p.failing[what]))
	}
	return out
}
