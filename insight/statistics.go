package insight

import (
	"fmt"
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
