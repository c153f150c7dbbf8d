package insight

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// podMetrics counts for one pod of one service. A series is made when it first
// counts, so that a process serves only what applies to it.
type podMetrics struct {
	vectors       *metrics
	service, name string

	requests         [len(methods)][len(statusClasses)]lazy[prometheus.Counter]
	errors           *handles[prometheus.Counter]
	chosen, unchosen lazy[prometheus.Counter]
	misroutes        lazy[prometheus.Counter]
	checks, failures lazy[prometheus.Counter]
	duration         lazy[prometheus.Observer]
}

func newPodMetrics(vectors *metrics, service, name string) *podMetrics {
	p := &podMetrics{vectors: vectors, service: service, name: name}
	p.errors = newHandles(16, func(kind string) prometheus.Counter {
		return vectors.errors.WithLabelValues(service, name, kind)
	})
	return p
}

func (p *podMetrics) request(method, code int) prometheus.Counter {
	return p.requests[method][code].get(func() prometheus.Counter {
		return p.vectors.requests.WithLabelValues(p.service, p.name, methods[method], statusClasses[code])
	})
}

// zeros serves as 0 what has not happened yet: Prometheus does not see the
// increase of a counter that appears with its first value, and what is rare
// often happens all at once.
func (p *podMetrics) zeros() {
	p.misroute()
	p.errors.get("upstream")
}

func (p *podMetrics) durations() prometheus.Observer {
	return p.duration.get(func() prometheus.Observer {
		p.zeros()
		return p.vectors.requestDuration.WithLabelValues(p.service, p.name)
	})
}

func (p *podMetrics) choice(ok bool) prometheus.Counter {
	cell, result := &p.chosen, "success"
	if !ok {
		cell, result = &p.unchosen, "failure"
	}
	return cell.get(func() prometheus.Counter {
		return p.vectors.selections.WithLabelValues(p.service, p.name, result)
	})
}

func (p *podMetrics) misroute() prometheus.Counter {
	return p.misroutes.get(func() prometheus.Counter { return p.vectors.misroutes.WithLabelValues(p.service, p.name) })
}

func (p *podMetrics) check() prometheus.Counter {
	return p.checks.get(func() prometheus.Counter { return p.vectors.healthChecks.WithLabelValues(p.service, p.name) })
}

func (p *podMetrics) checkFailure() prometheus.Counter {
	return p.failures.get(func() prometheus.Counter { return p.vectors.unhealthy.WithLabelValues(p.service, p.name) })
}

// lazy holds a value that is made on first use. Two first users may both make
// one, so what makes it must return the same thing each time.
type lazy[T any] struct{ made atomic.Pointer[T] }

func (l *lazy[T]) get(create func() T) T {
	if v := l.made.Load(); v != nil {
		return *v
	}
	v := create()
	l.made.Store(&v)
	return v
}

// methods are the values of the method label; the last takes all others.
var methods = [...]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", other}

func methodIndex(method string) int {
	for i, m := range methods {
		if m == method {
			return i
		}
	}
	return len(methods) - 1
}

// statusClasses are the values of the code label: no response, the classes, the rest.
var statusClasses = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx", other}

func statusClass(status int) int {
	if class := status / 100; status == 0 || class >= 1 && class <= 5 {
		return class
	}
	return len(statusClasses) - 1
}

// podNames bounds the pod label over all services of a process.
type podNames struct {
	max   int
	count atomic.Int64 // len(uses), read without the lock

	mu   sync.Mutex
	uses map[string]int // pod -> services that hold a handle for it
}

// take reports whether name may be a label value of its own.
func (p *podNames) take(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.uses[name] == 0 && len(p.uses) >= p.max {
		return false
	}
	p.uses[name]++
	p.count.Store(int64(len(p.uses)))
	return true
}

func (p *podNames) release(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.uses[name]--; p.uses[name] <= 0 {
		delete(p.uses, name)
	}
	p.count.Store(int64(len(p.uses)))
}

func (p *podNames) full() bool { return p.count.Load() >= int64(p.max) }
