package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SharedStore counts what a process asks of the store that replicas share.
type SharedStore struct {
	operations *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	conflicts  *prometheus.CounterVec
}

// The results of an operation.
const (
	storeDone   = "ok"
	storeFailed = "error"
)

// SharedStore serves the metrics of a store that replicas share; left is read at each
// scrape: how long this process may answer without having heard of the store. It can be
// called once.
func (m *Monitor) SharedStore(left func() time.Duration) (*SharedStore, error) {
	s := &SharedStore{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stateful_route_store_operations_total",
			Help: "Operations of the store that replicas share, by result: ok or error.",
		}, []string{"operation", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                        "stateful_route_store_duration_seconds",
			Help:                        "Time that operations of the store took, its network included.",
			Buckets:                     prometheus.ExponentialBuckets(0.0001, 2, 14),
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
		}, []string{"operation"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stateful_route_store_conflicts_total",
			Help: "Bindings that a replica gave up, or had the store give up, for the two were different: sessions that two replicas may have sent to two pods.",
		}, []string{"service"}),
	}
	lease := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stateful_route_store_lease_seconds",
		Help: "How long this replica may answer without having heard of the store; 0: it may not.",
	}, func() float64 { return max(left().Seconds(), 0) })
	return s, errors.Join(m.Register("store operations", s.operations), m.Register("store duration", s.duration),
		m.Register("store conflicts", s.conflicts), m.Register("store lease", lease))
}

// Operation counts one; operations have few and fixed names. Its failures count from 0 on,
// for the first one to be an increase.
func (s *SharedStore) Operation(name string, took time.Duration, err error) {
	done, failed := s.operations.WithLabelValues(name, storeDone), s.operations.WithLabelValues(name, storeFailed)
	if err != nil {
		done = failed
	}
	done.Inc()
	s.duration.WithLabelValues(name).Observe(took.Seconds())
}

// Service has the conflicts of a service count from 0 on.
func (s *SharedStore) Service(name string) { s.conflicts.WithLabelValues(name) }

// Conflict counts a binding that had to yield to another one.
func (s *SharedStore) Conflict(service string) { s.conflicts.WithLabelValues(service).Inc() }
