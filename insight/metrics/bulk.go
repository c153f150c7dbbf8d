package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Methods and StatusClasses are how many values the labels method and code of the requests
// have, for who counts by their indexes.
const (
	Methods       = len(methods)
	StatusClasses = len(statusClasses)
)

// The indexes of the labels' values.
var (
	MethodIndex = methodIndex
	StatusClass = statusClass
)

// Bulk is what became of many requests of one pod that somebody else has counted.
type Bulk struct {
	// Requests are those answered, by method and class of status, see MethodIndex and
	// StatusClass; of class 0 are those without a response.
	Requests [Methods][StatusClasses]uint64
	// Aborted are those that ended without a response that was awaited, and Misroutes those
	// of sessions of the pod that another one served.
	Aborted, Misroutes uint64
	// Durations says how many requests took how long, about.
	Durations []DurationCount
}

// DurationCount is a number of requests that took about the same time.
type DurationCount struct {
	Took time.Duration
	N    uint64
}

// Bulk records what Request, Error and Misroute would have for each of the requests by
// itself, but for exemplars; durations are as exact as they are given.
func (s *ServiceMetrics) Bulk(pod string, b *Bulk) {
	p := s.pod(pod)
	failed := uint64(0)
	for method := range b.Requests {
		for class, n := range b.Requests[method] {
			if n > 0 {
				p.request(method, class).Add(float64(n))
			}
		}
		failed += b.Requests[method][statusClass(500)]
	}
	add(p.errors.get, "upstream", failed)
	add(p.errors.get, "aborted", b.Aborted)
	if b.Misroutes > 0 {
		p.misroute().Add(float64(b.Misroutes))
	}
	for _, d := range b.Durations {
		for range d.N {
			p.durations().Observe(d.Took.Seconds())
		}
	}
}

// add adds to the counter of a name, which is not made for nothing.
func add(counter func(string) prometheus.Counter, name string, n uint64) {
	if n > 0 {
		counter(name).Add(float64(n))
	}
}

// TableHits counts requests whose sessions had bindings.
func (s *ServiceMetrics) TableHits(n uint64) { s.hits.Add(float64(n)) }
