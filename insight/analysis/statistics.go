package analysis

import (
	"bytes"
	"encoding/json"
	"fmt"
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
	Pods map[string]Averages
}

// Averages are the averages of one scope over the history, in the order of
// Metrics; a figure that was never known is left out. In JSON they are an object
// of numbers by metric; the response time's is an object, too.
type Averages []Average

// Average is one figure's average.
type Average struct {
	Metric Metric
	Value  float64
	// Times has more to say of the response time, and is nil otherwise.
	Times *ResponseTimeStats
}

// ResponseTimeStats are in seconds.
type ResponseTimeStats struct {
	Average float64 `json:"average"`
	P50     float64 `json:"p50"`
	P95     float64 `json:"p95"`
	P99     float64 `json:"p99"`
}

func averages(w *Window) Averages {
	out := make(Averages, 0, len(metricTable))
	for i := range metricTable {
		m := &metricTable[i]
		v, known := m.value(w)
		if !known {
			continue
		}
		average := Average{Metric: m.name, Value: v}
		if m.name == ResponseTime {
			times := &w.ResponseTimes
			average.Times = &ResponseTimeStats{Average: v, P50: times.Quantile(.5), P95: times.Quantile(.95), P99: times.Quantile(.99)}
		}
		out = append(out, average)
	}
	return out
}

// of returns the average of a metric, nil when it is not known.
func (a Averages) of(m Metric) *Average {
	for i := range a {
		if a[i].Metric == m {
			return &a[i]
		}
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (a Averages) MarshalJSON() ([]byte, error) {
	members, err := a.members()
	return fmt.Appendf(nil, "{%s}", bytes.Join(members, []byte{','})), err
}

func (a Averages) members() ([][]byte, error) {
	out := make([][]byte, len(a))
	for i := range a {
		var v any = a[i].Value
		if a[i].Times != nil {
			v = a[i].Times
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		out[i] = fmt.Appendf(nil, "%q:%s", a[i].Metric, text)
	}
	return out, nil
}

// UnmarshalJSON implements json.Unmarshaler. What is no metric is passed over.
func (a *Averages) UnmarshalJSON(text []byte) error {
	var known map[Metric]json.RawMessage
	if err := json.Unmarshal(text, &known); err != nil {
		return err
	}
	*a = Averages{}
	for i := range metricTable {
		average := Average{Metric: metricTable[i].name}
		value, found := known[average.Metric]
		if !found {
			continue
		}
		var into any = &average.Value
		if average.Metric == ResponseTime {
			average.Times = &ResponseTimeStats{}
			into = average.Times
		}
		if err := json.Unmarshal(value, into); err != nil {
			return fmt.Errorf("%s: %w", average.Metric, err)
		}
		if average.Times != nil {
			average.Value = average.Times.Average
		}
		*a = append(*a, average)
	}
	return nil
}

// MarshalJSON implements json.Marshaler: the averages, and the pods beside them.
func (s ServiceStatistics) MarshalJSON() ([]byte, error) {
	members, err := s.members()
	if err != nil {
		return nil, err
	}
	pods, err := json.Marshal(s.Pods)
	if err != nil {
		return nil, err
	}
	members = append(members, fmt.Appendf(nil, `"pods":%s`, pods))
	return fmt.Appendf(nil, "{%s}", bytes.Join(members, []byte{','})), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *ServiceStatistics) UnmarshalJSON(text []byte) error {
	if err := s.Averages.UnmarshalJSON(text); err != nil {
		return err
	}
	return json.Unmarshal(text, &struct {
		Pods *map[string]Averages `json:"pods"`
	}{&s.Pods})
}
