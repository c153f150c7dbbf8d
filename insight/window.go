package insight

import (
	"fmt"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Metric names a figure that a rule can watch.
type Metric string

// The metrics of the analyzer, spelled as in the configuration.
const (
	RequestRate     Metric = "request_rate"          // requests per second
	ResponseTime    Metric = "response_time_seconds" // mean
	ErrorRate       Metric = "error_rate"            // share of the requests, 0 to 1
	CacheHitRate    Metric = "cache_hit_rate"        // share of the look-ups, 0 to 1
	MemoryUsage     Metric = "memory_usage"          // share of the limit, 0 to 1
	CPUUsage        Metric = "cpu_usage"             // share of the limit, 0 to 1
	ConnectionCount Metric = "connection_count"      // requests in flight
)

// metricList holds every metric in the order of a report.
var metricList = []Metric{RequestRate, ResponseTime, ErrorRate, CacheHitRate, ConnectionCount, MemoryUsage, CPUUsage}

// unit renders a value of the metric for a person.
func (m Metric) unit(v float64) string {
	switch m {
	case RequestRate:
		return fmt.Sprintf("%.3g/s", v)
	case ResponseTime:
		return seconds(v)
	case ErrorRate, CacheHitRate, MemoryUsage, CPUUsage:
		return percent(v)
	case ConnectionCount:
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.4g", v)
}

func percent(v float64) string { return fmt.Sprintf("%.3g %%", 100*v) }

func seconds(v float64) string {
	switch {
	case v >= 1:
		return fmt.Sprintf("%.3g s", v)
	case v >= 1e-3:
		return fmt.Sprintf("%.3g ms", v*1e3)
	}
	return fmt.Sprintf("%.3g µs", v*1e6)
}

// Window is what one scope did over some consecutive samples.
type Window struct {
	Scope
	// Start is when the window began, End when its last sample was taken.
	Start, End time.Time
	// Period is the time observed; less than End - Start when samples are missing.
	Period time.Duration
	// Samples is the number of samples.
	Samples int
	// Requests, Errors, Hits and Misses count over the window.
	Requests, Errors, Hits, Misses uint64
	// Evictions counts those of the whole session table, in a service's window.
	Evictions uint64
	// ResponseTimes summarises the response times measured.
	ResponseTimes Durations
	// InFlight and Sessions are the newest values.
	InFlight, Sessions int64
	// State is a pod's newest.
	State statefulroute.PodState
	// Flaps is how many times a pod began to fail its health checks in the last
	// minute, as of the newest sample.
	Flaps int
	// Usage is the newest state of a process.
	Usage ProcessSample

	inFlight, memory, cpu float64 // sums over the samples
	grown                 int64   // bindings added over the window, net
}

// extend adds a point but for its times; points may come in either order of time.
func (w *Window) extend(p *point) {
	if start := p.at.Add(-p.span); w.Samples == 0 || start.Before(w.Start) {
		w.Start = start
	}
	if w.Samples == 0 || p.at.After(w.End) {
		w.End, w.InFlight, w.Sessions, w.State, w.Usage = p.at, p.inFlight, p.sessions, p.state, p.usage
		w.Flaps = int(p.flaps)
	}
	w.Period += p.span
	w.Samples++
	w.Requests += p.requests
	w.Errors += p.errors
	w.Hits += p.hits
	w.Misses += p.misses
	w.Evictions += p.evictions
	w.grown += p.grown
	w.inFlight += float64(p.inFlight)
	w.memory += share(float64(p.usage.Memory), float64(p.usage.MemoryLimit))
	w.cpu += share(p.usage.CPU, p.usage.CPULimit)
}

func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return part / whole
}

// Value is the metric's value over the window, for the metrics of a gauge the
// average; false when the window does not say, as an error rate without requests.
func (w *Window) Value(m Metric) (float64, bool) {
	n := float64(w.Samples)
	switch m {
	case RequestRate:
		return share(float64(w.Requests), w.Period.Seconds()), w.Process == "" && w.Period > 0
	case ResponseTime:
		return w.ResponseTimes.Mean(), w.ResponseTimes.Count() > 0
	case ErrorRate:
		return share(float64(w.Errors), float64(w.Requests)), w.Requests > 0
	case CacheHitRate:
		return share(float64(w.Hits), float64(w.Hits+w.Misses)), w.Hits+w.Misses > 0
	case ConnectionCount:
		return share(w.inFlight, n), w.Process == "" && n > 0
	case MemoryUsage:
		return share(w.memory, n), w.Usage.MemoryLimit > 0
	case CPUUsage:
		return share(w.cpu, n), w.Usage.CPULimit > 0
	}
	return 0, false
}
