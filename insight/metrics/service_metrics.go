package metrics

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ServiceMetrics counts for one service. Its methods take the pod's name, look
// it up without a lock, and allocate nothing once a pod has been seen. An empty
// pod name means that no pod is known, for example because none could be chosen.
type ServiceMetrics struct {
	name      string
	monitor   *Monitor
	hits      prometheus.Counter
	misses    prometheus.Counter
	rebound   *boundedMap[prometheus.Counter]
	refused   *boundedMap[prometheus.Counter]
	selection prometheus.Observer
	health    prometheus.Observer

	pods     atomic.Pointer[map[string]*podMetrics] // replaced, never changed
	overflow atomic.Pointer[podMetrics]             // the pods past the bound
	mu       sync.Mutex                             // serialises changes of pods and overflow, and what is served of them
	gone     bool                                   // of mu: the service is retired
}

func (m *Monitor) newService(name string) *ServiceMetrics {
	s := &ServiceMetrics{
		name:      name,
		monitor:   m,
		hits:      m.vectors.hits.WithLabelValues(name),
		misses:    m.vectors.misses.WithLabelValues(name),
		selection: m.vectors.selectionDuration.WithLabelValues(name),
		health:    m.vectors.healthDuration.WithLabelValues(name),
	}
	s.rebound = s.byReason(m.vectors.rebound, reboundReasons[:])
	s.refused = s.byReason(m.vectors.keysRefused, nil)
	s.pods.Store(&map[string]*podMetrics{})
	return s
}

// byReason returns the service's counters of a vector by reason, of which some are
// served as 0 from the start.
func (s *ServiceMetrics) byReason(v *prometheus.CounterVec, atOnce []string) *boundedMap[prometheus.Counter] {
	counters := newBoundedMap(16, func(reason string) prometheus.Counter {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.gone {
			return prometheus.NewCounter(prometheus.CounterOpts{})
		}
		return v.WithLabelValues(s.name, reason)
	})
	for _, reason := range atOnce {
		counters.get(reason)
	}
	return counters
}

// reboundReasons are served as 0 from the start: Prometheus does not see the
// increase of a counter that appears with its first value, and when a pod goes
// all of its sessions move within one scrape.
var reboundReasons = [...]string{"removed", "unhealthy", "maintenance", "elsewhere", "learned"}

// TableHit counts a request whose session had a binding.
func (s *ServiceMetrics) TableHit() { s.hits.Inc() }

// TableMiss counts a request whose session had none.
func (s *ServiceMetrics) TableMiss() { s.misses.Inc() }

// Rebound counts a session that moved to another pod. Reasons are a fixed
// vocabulary of the caller's; past 16 of them, "other".
func (s *ServiceMetrics) Rebound(reason string) { s.rebound.get(reason).Inc() }

// KeyRefused counts a value that is not taken for a session key. Reasons are as
// Rebound's.
func (s *ServiceMetrics) KeyRefused(reason string) { s.refused.get(reason).Inc() }

// Selected records one choice of a pod: what was chosen, how long the choice
// itself took, and whether there was a pod to choose.
func (s *ServiceMetrics) Selected(pod string, d time.Duration, ok bool) {
	s.selection.Observe(d.Seconds())
	s.pod(pod).choice(ok).Inc()
}

// Request records an answered request: the status the client got, 0 when there
// was no response, and d from the request's arrival to the end of its exchange. A
// 5xx also counts as an error of kind upstream; for other failures call Error. A
// traceID that is not empty is kept as the exemplar of its bucket.
func (s *ServiceMetrics) Request(pod, method string, status int, d time.Duration, traceID string) {
	p := s.pod(pod)
	p.request(methodIndex(method), statusClass(status)).Inc()
	if status >= 500 {
		p.errors.get("upstream").Inc()
	}
	p.lasted(d, traceID)
}

// Refused records a request that was answered in the pods' stead: the status
// the client got, d from arrival to answer, and kind, one of Error's, in place
// of the upstream error that Request would count for a 5xx. The traceID is an
// exemplar as Request's is.
func (s *ServiceMetrics) Refused(method, kind string, status int, d time.Duration, traceID string) {
	p := s.pod("")
	p.request(methodIndex(method), statusClass(status)).Inc()
	p.errors.get(kind).Inc()
	p.lasted(d, traceID)
}

// Error counts a request that failed otherwise than by a 5xx of its pod. Kinds
// are the caller's fixed vocabulary, as aborted; past 16 of them, "other".
func (s *ServiceMetrics) Error(pod, kind string) { s.pod(pod).errors.get(kind).Inc() }

// Misroute counts a request of a session bound to pod that another pod served.
func (s *ServiceMetrics) Misroute(pod string) { s.pod(pod).misroute().Inc() }

// HealthCheck records one active health check.
func (s *ServiceMetrics) HealthCheck(pod string, d time.Duration, ok bool) {
	s.health.Observe(d.Seconds())
	p := s.pod(pod)
	p.check().Inc()
	if failures := p.checkFailure(); !ok {
		failures.Inc()
	}
}

// PodWeight sets the weight Envoy was given for pod. The pods past the bound
// have no gauges: their values cannot be told apart.
func (s *ServiceMetrics) PodWeight(pod string, w uint32) {
	if p := s.pod(pod); p.name == pod {
		p.weight.get(func() prometheus.Gauge { return p.gauge(p.vectors().podWeight) }).Set(float64(w))
	}
}

// PodSessions sets the number of sessions bound to pod. From the first call on,
// the pod's misroutes and failures are served, as 0.
func (s *ServiceMetrics) PodSessions(pod string, n int) {
	if p := s.pod(pod); p.name == pod {
		p.zeros()
		p.sessions.get(func() prometheus.Gauge { return p.gauge(p.vectors().podSessions) }).Set(float64(n))
	}
}

// ForgetPod removes every series of a pod that is gone and gives its place among
// the pod label's values back. A request that ends later brings some back, until
// KeepPods or another call removes them.
func (s *ServiceMetrics) ForgetPod(pod string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(pod)
}

// KeepPods forgets every pod that is not in pods. Call it with the whole list
// again and again, such as once a second: it also forgets those that something
// late brought back.
func (s *ServiceMetrics) KeepPods(pods []string) {
	s.KeepPodsWhere(func(pod string) bool { return slices.Contains(pods, pod) })
}

// KeepPodsWhere is KeepPods of those of which there says true. It asks of no more pods
// than have series.
func (s *ServiceMetrics) KeepPodsWhere(there func(pod string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pod := range *s.pods.Load() {
		if pod != "" && !there(pod) {
			s.forgetLocked(pod)
		}
	}
}

// PodWeights serves the weights of the pods there are, by service and name, and
// nothing any more of services and pods that are gone. Call it with all of them again
// and again, such as once a second.
func (m *Monitor) PodWeights(weights map[string]map[string]uint32) {
	m.KeepServices(slices.Collect(maps.Keys(weights)))
	for name, pods := range weights {
		s := m.Service(name)
		s.KeepPodsWhere(func(pod string) bool { _, there := pods[pod]; return there })
		for pod, weight := range pods {
			s.PodWeight(pod, weight)
		}
	}
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

func (s *ServiceMetrics) forgetLocked(pod string) {
	current := *s.pods.Load()
	if current[pod] == nil {
		return
	}
	next := maps.Clone(current)
	delete(next, pod)
	s.pods.Store(&next)
	current[pod].gone = true
	s.monitor.vectors.forget(prometheus.Labels{"service": s.name, "pod": pod})
	if pod != "" {
		s.monitor.pods.release(pod)
	}
}

// retire removes every series of the service and gives its pods' names back.
func (s *ServiceMetrics) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	for pod := range *s.pods.Load() {
		s.forgetLocked(pod)
	}
	if p := s.overflow.Load(); p != nil {
		p.gone = true
	}
	s.monitor.vectors.forget(prometheus.Labels{"service": s.name})
}

// pod returns the handle for a pod's metrics.
func (s *ServiceMetrics) pod(name string) *podMetrics {
	if p := (*s.pods.Load())[name]; p != nil {
		return p
	}
	return s.addPod(name)
}

func (s *ServiceMetrics) addPod(name string) *podMetrics {
	if p := s.overflow.Load(); p != nil && name != "" && s.monitor.pods.full() {
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	current := *s.pods.Load()
	if p := current[name]; p != nil {
		return p
	}
	if s.gone {
		p := newPodMetrics(s, "")
		p.gone = true
		return p
	}
	if name != "" && !s.monitor.pods.take(name) {
		return s.overflowLocked()
	}
	name = strings.Clone(name) // it may alias a buffer of the request that brought it
	next := maps.Clone(current)
	next[name] = newPodMetrics(s, name)
	s.pods.Store(&next)
	return next[name]
}

func (s *ServiceMetrics) overflowLocked() *podMetrics {
	p := s.overflow.Load()
	if p == nil {
		p = newPodMetrics(s, other)
		s.overflow.Store(p)
	}
	return p
}
