package metrics

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

// MonitorOptions configures a Monitor.
type MonitorOptions struct {
	// Process names the binary ("extproc", "xds-server") in
	// stateful_route_build_info. Required.
	Process string
	// Version is the binary's version; empty means "unknown".
	Version string
	// MaxPods bounds the distinct values of the pod label over all services;
	// further pods are counted together as "other". 0 means 200.
	MaxPods int
	// MaxServices bounds the service label in the same way. 0 means 200.
	MaxServices int
}

func (o *MonitorOptions) validate() error {
	if o.Process == "" {
		return errors.New("metrics: MonitorOptions.Process is empty")
	}
	if o.MaxPods < 0 || o.MaxServices < 0 {
		return fmt.Errorf("metrics: negative bound: MaxPods %d, MaxServices %d", o.MaxPods, o.MaxServices)
	}
	if o.MaxPods == 0 {
		o.MaxPods = 200
	}
	if o.MaxServices == 0 {
		o.MaxServices = 200
	}
	if o.Version == "" {
		o.Version = "unknown"
	}
	return nil
}

// Monitor owns one process's metrics. Its methods may be called from any
// goroutine.
type Monitor struct {
	registry *prometheus.Registry
	vectors  vectors
	services *boundedMap[*ServiceMetrics]
	pushes   *boundedMap[prometheus.Observer]
	pods     podNames

	persistence *Persistence

	mu     sync.Mutex
	custom map[string]prometheus.Collector
}

// NewMonitor returns a monitor with its own registry, which also holds the Go
// runtime's and the process's metrics.
func NewMonitor(o MonitorOptions) (*Monitor, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	m := &Monitor{
		registry: prometheus.NewRegistry(),
		vectors:  newVectors(),
		pods:     podNames{max: o.MaxPods, uses: make(map[string]int)},
		custom:   make(map[string]prometheus.Collector),

		persistence: newPersistence(),
	}
	m.services = newBoundedMap(o.MaxServices, m.newService)
	m.pushes = newBoundedMap(16, func(kind string) prometheus.Observer {
		m.vectors.nacks.WithLabelValues(kind) // served as 0, so that the first one is seen as an increase
		return m.vectors.pushDuration.WithLabelValues(kind)
	})
	m.vectors.reloadOK.Set(1) // the file that the process started with
	for _, result := range []string{reloadAccepted, reloadRefused} {
		m.vectors.reloads.WithLabelValues(result) // served as 0
	}
	for _, c := range append(m.vectors.collectors(),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.persistence.failures, m.persistence.ok,
		buildInfo(o)) {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: register a built-in metric: %w", err)
		}
	}
	return m, nil
}

func buildInfo(o MonitorOptions) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "stateful_route_build_info",
		Help:        "Always 1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"process": o.Process, "version": o.Version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

// maxScrapes bounds the scrapes that are answered at once, for each holds its
// whole answer: what comes on top gets 503.
const maxScrapes = 16

// Handler serves the metrics: the Prometheus text format, OpenMetrics with
// exemplars, or protobuf with native histograms, as the scraper asks. Nothing is
// locked while the answer is written: a scraper that stops reading costs its own.
func (m *Monitor) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry:          m.registry,
		EnableOpenMetrics: true,
		ErrorHandling:     promhttp.ContinueOnError,

		MaxRequestsInFlight: maxScrapes,
	})
}

// Register adds a collector of the caller's under a name by which it can be
// removed again. A name in use, or metrics that clash with those already
// served, are an error.
func (m *Monitor) Register(name string, c prometheus.Collector) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.custom[name]; taken {
		return fmt.Errorf("metrics: a collector named %q is already registered", name)
	}
	if err := m.registry.Register(c); err != nil {
		return fmt.Errorf("metrics: register collector %q: %w", name, err)
	}
	m.custom[name] = c
	return nil
}

// Unregister removes the collector registered under name and reports whether
// there was one.
func (m *Monitor) Unregister(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.custom[name]
	if !ok {
		return false
	}
	delete(m.custom, name)
	return m.registry.Unregister(c)
}

// Service returns the handle for one service's metrics; keep it or ask again,
// both are cheap.
func (m *Monitor) Service(name string) *ServiceMetrics { return m.services.get(name) }

// KeepServices forgets every service that is not in services, with its pods. Call
// it with the whole list again and again, as [ServiceMetrics.KeepPods]. Handles
// of a service that is forgotten count for nobody: ask for a new one.
func (m *Monitor) KeepServices(services []string) {
	kept := setOf(services)
	m.services.keep(func(name string, s *ServiceMetrics) bool {
		if name == other || kept[name] {
			return true
		}
		s.retire()
		return false
	})
}

// XDSPush records how long it took from a change to its acknowledgement by a
// client, by resource type (a type URL or its short name, such as EDS).
func (m *Monitor) XDSPush(typeURL string, d time.Duration) {
	m.pushes.get(shortType(typeURL)).Observe(d.Seconds())
}

// XDSNack counts a resource update that a client refused.
func (m *Monitor) XDSNack(typeURL string) { m.vectors.nacks.WithLabelValues(shortType(typeURL)).Inc() }

// XDSStateAge serves stateful_route_xds_state_age_seconds from what is read at each
// scrape: the time since xds-server stood behind the services and pods in force. It
// can be called once.
func (m *Monitor) XDSStateAge(read func() time.Duration) error {
	return m.Register("xds state age", prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stateful_route_xds_state_age_seconds",
		Help: "Time since xds-server stood behind the services and pods in force: 0 while it is connected.",
	}, func() float64 { return read().Seconds() }))
}

// Undecided counts a callout that ended without a decision. The reasons are the
// caller's, few and fixed.
func (m *Monitor) Undecided(reason string) { m.vectors.undecided.WithLabelValues(reason).Inc() }

// AnalysisIssues sets the number of open issues by severity; a severity not in
// the map has none.
func (m *Monitor) AnalysisIssues(open map[analysis.Severity]int) {
	for s := analysis.Low; s <= analysis.Critical; s++ {
		m.vectors.issues.WithLabelValues(s.String()).Set(float64(open[s]))
	}
}

// The values of the result label of config_reloads_total.
const (
	reloadAccepted = "accepted"
	reloadRefused  = "refused"
)

// ConfigReload counts an attempt to load a changed configuration file. That which
// the process started with is none.
func (m *Monitor) ConfigReload(ok bool) {
	result, last := reloadRefused, 0.0
	if ok {
		result, last = reloadAccepted, 1
	}
	m.vectors.reloads.WithLabelValues(result).Inc()
	m.vectors.reloadOK.Set(last)
}
