package insight

import (
	"fmt"
	"slices"
	"time"
)

// Statistics are the figures of the whole history kept.
type Statistics struct {
	// PeriodSeconds is the time observed, Samples the number of samples in it.
	PeriodSeconds float64 `json:"period_seconds"`
	Samples       int     `json:"samples"`
	// Services and Processes hold averages by name.
	Services  map[string]ServiceStatistics `json:"services"`
	Processes map[string]Averages          `json:"processes"`
}

// ServiceStatistics are one service's averages, and its pods'.
type ServiceStatistics struct {
	Averages
	Pods map[string]Averages `json:"pods"`
}

// Averages are the averages of one scope over the history; a figure that was
// never known is left out.
type Averages struct {
	RequestRate     *float64           `json:"request_rate,omitempty"`
	ResponseTime    *ResponseTimeStats `json:"response_time_seconds,omitempty"`
	ErrorRate       *float64           `json:"error_rate,omitempty"`
	CacheHitRate    *float64           `json:"cache_hit_rate,omitempty"`
	ConnectionCount *float64           `json:"connection_count,omitempty"`
	MemoryUsage     *float64           `json:"memory_usage,omitempty"`
	CPUUsage        *float64           `json:"cpu_usage,omitempty"`
}

// ResponseTimeStats are in seconds.
type ResponseTimeStats struct {
	Average float64 `json:"average"`
	P50     float64 `json:"p50"`
	P95     float64 `json:"p95"`
	P99     float64 `json:"p99"`
}

func averages(w *Window) Averages {
	value := func(m Metric) *float64 {
		if v, known := w.Value(m); known {
			return &v
		}
		return nil
	}
	out := Averages{
		RequestRate: value(RequestRate), ErrorRate: value(ErrorRate), CacheHitRate: value(CacheHitRate),
		ConnectionCount: value(ConnectionCount), MemoryUsage: value(MemoryUsage), CPUUsage: value(CPUUsage),
	}
	if times := w.ResponseTimes; times.Count() > 0 {
		out.ResponseTime = &ResponseTimeStats{
			Average: times.Mean(), P50: times.Quantile(.5), P95: times.Quantile(.95), P99: times.Quantile(.99),
		}
	}
	return out
}

// digest is what the whole history says; it takes a while to work out (0.1 s
// for 200 pods and an hour) and stays true until the next sample.
type digest struct {
	statistics Statistics
	changes    []Change
}

// digestLocked returns the digest of a service, or of all for "".
func (a *Analyzer) digestLocked(service string) digest {
	if known, ok := a.digests[service]; ok {
		return known
	}
	d := digest{statistics: a.statisticsLocked(service), changes: []Change{}}
	if a.options.Historical {
		d.changes = append(d.changes, a.changesLocked(service)...)
	}
	if service == "" || a.history[Scope{Service: service}] != nil {
		a.digests[service] = d // names that a visitor made up are not kept
	}
	return d
}

// statisticsLocked sums up the history of a service, or of all for "".
func (a *Analyzer) statisticsLocked(service string) Statistics {
	out := Statistics{Services: map[string]ServiceStatistics{}, Processes: map[string]Averages{}}
	longest := time.Duration(0)
	for _, scope := range a.knownLocked(service) {
		w := a.history[scope].whole(scope)
		if w.Period > longest {
			longest, out.Samples = w.Period, w.Samples
		}
		switch {
		case scope.Process != "":
			out.Processes[scope.Process] = averages(&w)
		case scope.Pod == "":
			out.Services[scope.Service] = ServiceStatistics{Averages: averages(&w), Pods: map[string]Averages{}}
		default: // its service came before it
			out.Services[scope.Service].Pods[scope.Pod] = averages(&w)
		}
	}
	out.PeriodSeconds = longest.Seconds()
	return out
}

// knownLocked returns the scopes of a service, or all for "", a service before
// its pods.
func (a *Analyzer) knownLocked(service string) []Scope {
	var scopes []Scope
	for scope := range a.history {
		if service == "" || scope.Service == service {
			scopes = append(scopes, scope)
		}
	}
	slices.SortFunc(scopes, compareScopes)
	return scopes
}

// Change is a trend or a shift in the history of one figure.
type Change struct {
	Scope
	Metric  Metric     `json:"metric"`
	Kind    ChangeKind `json:"kind"`
	Since   time.Time  `json:"since"`
	Before  float64    `json:"before"`
	After   float64    `json:"after"`
	Message string     `json:"message"`
}

// changesLocked searches the history of every figure of the scopes for changes.
func (a *Analyzer) changesLocked(service string) []Change {
	var changes []Change
	for _, scope := range a.knownLocked(service) {
		windows := a.history[scope].reduced(scope)
		for _, metric := range metricList {
			values, starts := valuesOf(windows, metric)
			if found, ok := findChange(values); ok {
				changes = append(changes, newChange(scope, metric, found, starts[found.at]))
			}
		}
	}
	return changes
}

func newChange(scope Scope, metric Metric, found change, since time.Time) Change {
	direction := "rose"
	if found.after < found.before {
		direction = "fell"
	}
	text := fmt.Sprintf("%s: %s %s from %s to %s at about %s UTC", scope.Subject(), metric, direction,
		metric.unit(found.before), metric.unit(found.after), since.UTC().Format(time.TimeOnly))
	if found.kind == Trend {
		text = fmt.Sprintf("%s: %s %s steadily from %s to %s since %s UTC", scope.Subject(), metric, direction,
			metric.unit(max(0, found.before)), metric.unit(max(0, found.after)), since.UTC().Format(time.TimeOnly))
	}
	return Change{Scope: scope, Metric: metric, Kind: found.kind, Since: since, Before: found.before, After: found.after, Message: text}
}

// reduced sums the history up in at most changePoints windows, oldest first.
func (s *series) reduced(scope Scope) []Window {
	n := len(s.points)
	per := (n + changePoints - 1) / changePoints
	var windows []Window
	for end := n; end > 0; end -= per {
		w := Window{Scope: scope}
		for i := end - 1; i >= max(0, end-per); i-- {
			w.extend(s.at(i))
		}
		windows = append(windows, w)
	}
	return windows
}

// valuesOf reads one figure from each window that knows it.
func valuesOf(windows []Window, metric Metric) (values []float64, starts []time.Time) {
	for i := range windows {
		if v, known := windows[i].Value(metric); known {
			values, starts = append(values, v), append(starts, windows[i].Start)
		}
	}
	return values, starts
}
