package extproc

import (
	"maps"
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

// timedPlacer is a service's balancer with its choices counted and timed.
type timedPlacer struct {
	*balancing.Balancer
	metrics *metrics.ServiceMetrics
	now     func() time.Time
}

// Pick implements placer.
func (p *timedPlacer) Pick(now time.Time, key string, evict func(pod string) bool) (balancing.PickResult, error) {
	began := p.now()
	t, err := p.Balancer.Pick(now, key)
	if err != nil {
		if instead, ok := p.PickEvicting(now, key, evict); ok {
			t, err = instead, nil
		}
	}
	p.metrics.Selected(t.Pod(), p.now().Sub(began), err == nil)
	return t, err
}

// SessionCounter tells how many sessions a pod of a service has. It is asked for every
// pod every second: it must not count them then.
type SessionCounter interface {
	PodSessions(service, pod string) int
}

// CountSessions brings the balancers' session counts, which decisions keep up
// roughly, and the session gauges to what the table says: expiries and an
// operator's changes are seen only there. The gauges say what shown does: where replicas
// share a table, one of them tells of all sessions. It also takes the metrics of pods and
// services that are gone off the list again, which a request that ended after
// them has brought back. Its owner calls it every second or so; it costs as much as
// there are pods, however many sessions they have.
func (d *Directory) CountSessions(table, shown SessionCounter) {
	d.mu.Lock() // no pod may join between a look at the list and its use
	defer d.mu.Unlock()
	current := d.all()
	d.opts.Monitor.KeepServices(slices.Collect(maps.Keys(current)))
	sharing := map[*metrics.ServiceMetrics][]*service{} // services past the monitor's bound share one
	for name, s := range current {
		for pod := range s.pods {
			s.balancer.SetSessions(pod, int64(table.PodSessions(name, pod)))
			s.metrics.PodSessions(pod, shown.PodSessions(name, pod))
		}
		sharing[s.metrics] = append(sharing[s.metrics], s)
	}
	for metrics, services := range sharing {
		metrics.KeepPodsWhere(func(pod string) bool {
			return slices.ContainsFunc(services, func(s *service) bool { return s.pods[pod] != nil })
		})
	}
}
