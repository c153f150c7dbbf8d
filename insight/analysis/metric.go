package analysis

import "fmt"

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
	Sessions        Metric = "sessions"              // bound
)

// metric is what the analyzer knows of a figure. A row of metricTable is all that
// a new one takes: the configuration, the rules, the reports and the search for
// changes read the table.
type metric struct {
	name   Metric
	column string // its heading in the text of a report
	// unit renders a value for a person.
	unit func(v float64) string
	// value is the figure over a window, of a gauge its average; false when the
	// window does not say, as an error rate without requests.
	value func(w *Window) (v float64, known bool)
	// enough reports whether a window holds as much as a judgement needs; nil means
	// that every window does.
	enough func(w *Window) bool
	// bad is the side on which the figure is a fault. There, what significant or outcomes
	// says is needed beside a value past the threshold.
	bad side
	// outcomes counts the bad outcomes and all of them, where the figure is a share:
	// more bad ones than chance would bring are needed. nil means that it is none.
	outcomes func(w *Window) (bad, n uint64)
	// significant reports whether the window shows more than chance past a threshold. nil
	// means that every value does.
	significant func(w *Window, threshold float64) bool
	// serviceOnly says that pods have no such figure.
	serviceOnly bool
	// drifts says that the figure moves in a healthy system, too, so that a change of
	// its level is no news.
	drifts bool
}

// side tells what lies above a threshold from what lies below.
type side uint8

const (
	neither side = iota
	high
	low
)

const (
	// minRequests is how many requests a mean or a share is taken over at least.
	minRequests = 3
	// minLookups is the same for the cache's hit rate: a service that was hardly
	// used has hardly a hit rate.
	minLookups = 50
)

// metricTable holds every metric in the order of a report.
var metricTable = []metric{
	{
		name: RequestRate, column: "requests",
		unit: func(v float64) string { return fmt.Sprintf("%.3g/s", v) },
		value: func(w *Window) (float64, bool) {
			return share(float64(w.Requests), w.Period.Seconds()), w.Process == "" && w.Period > 0
		},
	},
	{
		name: ResponseTime, column: "response time",
		unit:   seconds,
		value:  func(w *Window) (float64, bool) { return w.ResponseTimes.Mean(), w.ResponseTimes.Count() > 0 },
		enough: func(w *Window) bool { return w.ResponseTimes.Count() >= minRequests },
		bad:    high,
		// A mean can be carried by one request that was slow on purpose.
		significant: func(w *Window, threshold float64) bool { return w.ResponseTimes.above(threshold) >= minRequests },
	},
	{
		name: ErrorRate, column: "errors",
		unit: percent,
		value: func(w *Window) (float64, bool) {
			return share(float64(w.Errors), float64(w.Requests)), w.Requests > 0
		},
		enough:   func(w *Window) bool { return w.Requests >= minRequests },
		bad:      high,
		outcomes: func(w *Window) (bad, n uint64) { return w.Errors, w.Requests },
	},
	{
		name: CacheHitRate, column: "cache hits", serviceOnly: true,
		unit: percent,
		value: func(w *Window) (float64, bool) {
			return share(float64(w.Hits), float64(w.lookups())), w.lookups() > 0
		},
		enough: func(w *Window) bool { return w.lookups() >= minLookups },
		bad:    low,
		// A miss that only adds a binding to a growing table is a new session, not a
		// lost one.
		outcomes: func(w *Window) (bad, n uint64) {
			lost := int64(w.Misses) - max(w.grown, 0)
			return uint64(max(lost, 0)), w.lookups()
		},
	},
	{
		name: ConnectionCount, column: "in flight",
		unit:  func(v float64) string { return fmt.Sprintf("%.0f", v) },
		value: func(w *Window) (float64, bool) { return w.average(w.sums.inFlight), w.Process == "" && w.Samples > 0 },
	},
	{
		name: Sessions, column: "sessions", drifts: true,
		unit:  func(v float64) string { return fmt.Sprintf("%.0f", v) },
		value: func(w *Window) (float64, bool) { return w.average(w.sums.sessions), w.Process == "" && w.Samples > 0 },
	},
	{
		name: MemoryUsage, column: "memory",
		unit:  percent,
		value: func(w *Window) (float64, bool) { return w.average(w.sums.memory), w.Usage.MemoryLimit > 0 },
		bad:   high,
	},
	{
		name: CPUUsage, column: "cpu",
		unit:  percent,
		value: func(w *Window) (float64, bool) { return w.average(w.sums.cpu), w.Usage.CPULimit > 0 },
		bad:   high,
	},
}

// Metrics returns the names that a rule's Metric may have.
func Metrics() []Metric {
	out := make([]Metric, len(metricTable))
	for i := range metricTable {
		out[i] = metricTable[i].name
	}
	return out
}

// metricOf returns the row of a metric, nil when there is none.
func metricOf(name Metric) *metric {
	for i := range metricTable {
		if metricTable[i].name == name {
			return &metricTable[i]
		}
	}
	return nil
}

// tolerated is the share of bad outcomes at a threshold of the figure.
func (m *metric) tolerated(threshold float64) float64 {
	if m.bad == low {
		return 1 - threshold
	}
	return threshold
}

func number(v float64) string { return fmt.Sprintf("%.4g", v) }

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
