package analysis

import (
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

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

	sums  gauges // over the samples
	grown int64  // bindings added over the window, net
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
	w.sums.add(p.gauges())
}

// addServed adds what another scope served, without the distribution of its response
// times; takeServed takes it away again.
func (w *Window) addServed(o *Window) {
	w.Requests += o.Requests
	w.Errors += o.Errors
	w.ResponseTimes.count += o.ResponseTimes.count
	w.ResponseTimes.sum += o.ResponseTimes.sum
}

func (w *Window) takeServed(o *Window) {
	w.Requests -= o.Requests
	w.Errors -= o.Errors
	w.ResponseTimes.count -= o.ResponseTimes.count
	w.ResponseTimes.sum -= o.ResponseTimes.sum
}

// gauges are the figures that a sample shows as they are at its end, or sums of
// those of several samples.
type gauges struct{ inFlight, sessions, memory, cpu float64 }

func (g *gauges) add(o gauges) {
	g.inFlight += o.inFlight
	g.sessions += o.sessions
	g.memory += o.memory
	g.cpu += o.cpu
}

func (p *point) gauges() gauges {
	return gauges{
		inFlight: float64(p.inFlight),
		sessions: float64(p.sessions),
		memory:   share(float64(p.usage.Memory), float64(p.usage.MemoryLimit)),
		cpu:      share(p.usage.CPU, p.usage.CPULimit),
	}
}

func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return part / whole
}

// Value is the metric's value over the window, for the metrics of a gauge the
// average; false when the window does not say, as an error rate without requests.
func (w *Window) Value(m Metric) (v float64, known bool) {
	if row := metricOf(m); row != nil {
		return row.value(w)
	}
	return 0, false
}

func (w *Window) lookups() uint64 { return w.Hits + w.Misses }

// average is the average over the samples whose sum is given.
func (w *Window) average(sum float64) float64 { return share(sum, float64(w.Samples)) }
