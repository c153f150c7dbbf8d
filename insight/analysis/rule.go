package analysis

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Comparison says on which side of its threshold a value breaks a rule.
type Comparison uint8

// The comparisons. A configured `above` and `below` are Above and Below.
const (
	Above Comparison = iota
	AtLeast
	Below
	AtMost
)

func (c Comparison) holds(value, threshold float64) bool {
	switch c {
	case Above:
		return value > threshold
	case AtLeast:
		return value >= threshold
	case Below:
		return value < threshold
	case AtMost:
		return value <= threshold
	}
	return false
}

// side is where the values lie that break a rule.
func (c Comparison) side() side {
	if c == Above || c == AtLeast {
		return high
	}
	return low
}

func (c Comparison) String() string {
	return [...]string{"above", "at least", "below", "at most"}[c]
}

// Rule says which value of which metric is an issue. It is applied to each pod
// and each service, or to each process, as fits its metric.
type Rule struct {
	// Name identifies the rule; a rule named as a built-in one replaces it.
	Name string
	// Metric is what is watched.
	Metric Metric
	// Measure, when set, is watched instead of a Metric: any figure that Go code
	// can derive from a window of the newest samples; false when it does not
	// apply. It is called for every pod, service and process and must be quick.
	// Rules that have one are given in internal/extensions.
	Measure func(w *Window) (value float64, ok bool)
	// Compare and Threshold say which values are an issue.
	Compare   Comparison
	Threshold float64
	Severity  Severity
	// For is how long the rule must be broken before an issue opens; 0 means at
	// the first sample that breaks it.
	For time.Duration
	// Suggestion, Impact and Effort are shown with the issue. An empty Suggestion
	// means the analyzer's own; empty Impact and Effort of a rule that replaces a
	// built-in one mean those of that.
	Suggestion, Impact, Effort string
	// Priority orders suggestions, the highest first; 0 of a rule that replaces a
	// built-in one means that of the built-in one.
	Priority int

	figure *metric // the row of Metric, nil where Measure is set
}

func (r Rule) validate() error {
	if r.Name == "" {
		return errors.New("analysis: a rule has no name")
	}
	if r.Compare > AtMost || r.Severity > Critical || r.For < 0 {
		return fmt.Errorf("analysis: rule %q: bad comparison, severity or duration", r.Name)
	}
	if r.Measure != nil {
		return nil
	}
	if metricOf(r.Metric) == nil {
		return fmt.Errorf("analysis: rule %q: unknown metric %q", r.Name, r.Metric)
	}
	return nil
}

// unit renders a value of the rule's figure for a person.
func (r *Rule) unit(v float64) string {
	if r.figure == nil {
		return number(v)
	}
	return r.figure.unit(v)
}

// orElse takes from the built-in rule of the same name what r does not say.
func (r Rule) orElse(builtIn Rule) Rule {
	r.Impact, r.Effort = cmp.Or(r.Impact, builtIn.Impact), cmp.Or(r.Effort, builtIn.Effort)
	r.Priority = cmp.Or(r.Priority, builtIn.Priority)
	return r
}

// The names of the built-in rules.
const (
	HighResponseTime = "High Response Time"
	HighErrorRate    = "High Error Rate"
	LowCacheHitRate  = "Low Cache Hit Rate"
	HighMemoryUsage  = "High Memory Usage"
	FlappingPod      = "Flapping Pod"
)

// BuiltInRules returns the rules that apply without configuration.
func BuiltInRules() []Rule {
	return []Rule{
		{Name: HighErrorRate, Metric: ErrorRate, Compare: AtLeast, Threshold: .05, Severity: High, Priority: 90,
			Impact: "high: these requests fail", Effort: "medium: find the cause in the pod's log"},
		{Name: HighMemoryUsage, Metric: MemoryUsage, Compare: AtLeast, Threshold: .9, Severity: High, Priority: 80,
			Impact: "high: the process is killed at its limit", Effort: "low: one setting"},
		{Name: FlappingPod, Measure: flaps, Compare: AtLeast, Threshold: 3, Severity: High, Priority: 70,
			Impact: "medium: requests fail each time, and sessions leave the pod", Effort: "medium: find the cause in the pod's log"},
		{Name: HighResponseTime, Metric: ResponseTime, Compare: Above, Threshold: 1, Severity: Medium, Priority: 60,
			Impact: "medium: clients wait", Effort: "medium: find what the pod waits for"},
		{Name: LowCacheHitRate, Metric: CacheHitRate, Compare: AtMost, Threshold: .8, Severity: Medium, Priority: 50,
			Impact: "medium: sessions start anew on another pod", Effort: "low: one setting"},
	}
}

// flaps is how many times a pod began to fail its checks in the last minute.
func flaps(w *Window) (value float64, ok bool) { return float64(w.Flaps), w.Pod != "" }

// mergeRules replaces the built-in rules that share a name with one of added.
func mergeRules(added []Rule) ([]Rule, error) {
	rules, index := BuiltInRules(), map[string]int{}
	builtIn := len(rules)
	for i, r := range rules {
		index[r.Name] = i
	}
	for _, r := range added {
		if err := r.validate(); err != nil {
			return nil, err
		}
		i, named := index[r.Name]
		switch {
		case !named:
			index[r.Name] = len(rules)
			rules = append(rules, r)
		case i < builtIn:
			rules[i] = r.orElse(rules[i])
		default:
			return nil, fmt.Errorf("analysis: two rules are named %q", r.Name)
		}
	}
	for i := range rules {
		if rules[i].Measure == nil {
			rules[i].figure = metricOf(rules[i].Metric)
		}
	}
	return rules, nil
}
