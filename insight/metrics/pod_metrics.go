package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// podMetrics counts for one pod of one service. A series is made when it first
// counts, so that a process serves only what applies to it, and not any more
// once the pod is forgotten: whoever still holds the pod then counts for nobody.
type podMetrics struct {
	owner *ServiceMetrics
	name  string
	gone  bool // of owner.mu

	requests         [len(methods)][len(statusClasses)]lazy[prometheus.Counter]
	errors           *boundedMap[prometheus.Counter]
	chosen, unchosen lazy[prometheus.Counter]
	misroutes        lazy[prometheus.Counter]
	checks, failures lazy[prometheus.Counter]
	duration         lazy[prometheus.Observer]
	weight, sessions lazy[prometheus.Gauge]
}

func newPodMetrics(owner *ServiceMetrics, name string) *podMetrics {
	p := &podMetrics{owner: owner, name: name}
	p.errors = newBoundedMap(16, func(kind string) prometheus.Counter {
		return p.counter(owner.monitor.vectors.errors, kind)
	})
	return p
}

// served reports whether the pod's series may be made, and holds them back from
// being forgotten until the function returned is called.
func (p *podMetrics) served() (ok bool, release func()) {
	p.owner.mu.Lock()
	return !p.gone, p.owner.mu.Unlock
}

// counter makes a series of the pod; more are the labels after service and pod.
func (p *podMetrics) counter(vec *prometheus.CounterVec, more ...string) prometheus.Counter {
	ok, release := p.served()
	defer release()
	if !ok {
		return prometheus.NewCounter(prometheus.CounterOpts{})
	}
	return vec.WithLabelValues(append([]string{p.owner.name, p.name}, more...)...)
}

func (p *podMetrics) gauge(vec *prometheus.GaugeVec) prometheus.Gauge {
	ok, release := p.served()
	defer release()
	if !ok {
		return prometheus.NewGauge(prometheus.GaugeOpts{})
	}
	return vec.WithLabelValues(p.owner.name, p.name)
}

func (p *podMetrics) observer(vec *prometheus.HistogramVec) prometheus.Observer {
	ok, release := p.served()
	defer release()
	if !ok {
		return prometheus.NewHistogram(prometheus.HistogramOpts{})
	}
	return vec.WithLabelValues(p.owner.name, p.name)
}

func (p *podMetrics) vectors() *vectors { return &p.owner.monitor.vectors }

func (p *podMetrics) request(method, code int) prometheus.Counter {
	return p.requests[method][code].get(func() prometheus.Counter {
		return p.counter(p.vectors().requests, methods[method], statusClasses[code])
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
		return p.observer(p.vectors().requestDuration)
	})
}

// lasted records the time that a request took.
func (p *podMetrics) lasted(d time.Duration, traceID string) {
	durations := p.durations()
	if exemplars, ok := durations.(prometheus.ExemplarObserver); ok && traceID != "" {
		exemplars.ObserveWithExemplar(d.Seconds(), prometheus.Labels{"trace_id": traceID})
		return
	}
	durations.Observe(d.Seconds())
}

func (p *podMetrics) choice(ok bool) prometheus.Counter {
	cell, result := &p.chosen, "success"
	if !ok {
		cell, result = &p.unchosen, "failure"
	}
	return cell.get(func() prometheus.Counter { return p.counter(p.vectors().selections, result) })
}

func (p *podMetrics) misroute() prometheus.Counter {
	return p.misroutes.get(func() prometheus.Counter { return p.counter(p.vectors().misroutes) })
}

func (p *podMetrics) check() prometheus.Counter {
	return p.checks.get(func() prometheus.Counter { return p.counter(p.vectors().healthChecks) })
}

func (p *podMetrics) checkFailure() prometheus.Counter {
	return p.failures.get(func() prometheus.Counter { return p.counter(p.vectors().unhealthy) })
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
