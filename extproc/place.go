package extproc

import (
	"maps"
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/insight"
)

// timedPlacer is a service's balancer with its choices counted and timed.
type timedPlacer struct {
	*balancing.Balancer
	metrics *insight.ServiceMetrics
	now     func() time.Time
}

// Pick implements placer.
func (p *timedPlacer) Pick(now time.Time, key string) (balancing.Ticket, error) {
	began := p.now()
	t, err := p.Balancer.Pick(now, key)
	p.metrics.Selected(t.Pod(), p.now().Sub(began), err == nil)
	return t, err
}

// SessionCounter tells how many sessions each pod of a service has.
type SessionCounter interface {
	PodSessionCounts(service string) map[string]int
}

// CountSessions brings the balancers' session counts, which decisions keep up
// roughly, and the session gauges to what the table says: expiries and an
// operator's changes are seen only there. It also takes the metrics of pods and
// services that are gone off the list again, which a request that ended after
// them has brought back. Its owner calls it every second or so.
func (d *Directory) CountSessions(table SessionCounter) {
	d.mu.Lock() // no pod may join between a look at the list and its use
	defer d.mu.Unlock()
	current := d.all()
	d.opts.Monitor.KeepServices(slices.Collect(maps.Keys(current)))
	pods := map[*insight.ServiceMetrics][]string{} // services past the monitor's bound share one
	for name, s := range current {
		counts := table.PodSessionCounts(name)
		for pod := range s.pods {
			s.balancer.SetSessions(pod, int64(counts[pod]))
			s.metrics.PodSessions(pod, counts[pod])
		}
		pods[s.metrics] = slices.AppendSeq(pods[s.metrics], maps.Keys(s.pods))
	}
	for metrics, names := range pods {
		metrics.KeepPods(names)
	}
}
