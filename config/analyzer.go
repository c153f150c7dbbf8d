package config

import (
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

type rawAnalyzer struct {
	Interval   *duration `yaml:"interval"`
	History    *int      `yaml:"history"`
	RealTime   *bool     `yaml:"real_time"`
	Historical *bool     `yaml:"historical"`
	Rules      []rawRule `yaml:"rules" is:"a list of rules|- {name: Slow, metric: response_time_seconds, above: 2, severity: high}"`
}

type rawRule struct {
	Name       string   `yaml:"name"`
	Metric     string   `yaml:"metric"`
	Above      *float64 `yaml:"above"`
	Below      *float64 `yaml:"below"`
	Severity   string   `yaml:"severity"`
	For        duration `yaml:"for"`
	Suggestion string   `yaml:"suggestion"`
	Impact     string   `yaml:"impact"`
	Effort     string   `yaml:"effort"`
	Priority   int      `yaml:"priority"`
}

// ruleMetrics are the metrics a rule may watch, ruleSeverities what it may say.
func ruleMetrics() (names []string) {
	for _, m := range analysis.Metrics() {
		names = append(names, string(m))
	}
	return names
}

func ruleSeverities() (names []string) {
	for s := analysis.Low; s <= analysis.Critical; s++ {
		names = append(names, s.String())
	}
	return names
}

func (raw *rawAnalyzer) check(doc *document, at path) Analyzer {
	a := Analyzer{
		Interval:   orDuration(raw.Interval, 5*time.Second),
		History:    or(raw.History, 720),
		RealTime:   or(raw.RealTime, true),
		Historical: or(raw.Historical, true),
	}
	if a.Interval < 100*time.Millisecond {
		doc.Refuse(at.With("interval"), "must be at least 100ms")
	}
	if a.History < 1 || a.History > 100_000 {
		doc.Refuse(at.With("history"), "%d must be 1 to 100000", a.History)
	}
	names := map[string]bool{}
	for _, name := range doc.rules {
		names[name] = true
	}
	for i := range raw.Rules {
		where := at.With("rules", i)
		rule := raw.Rules[i].check(doc, where)
		if names[rule.Name] {
			doc.Refuse(where.With("name"), "there is a rule %q already", rule.Name)
		}
		names[rule.Name] = true
		a.Rules = append(a.Rules, rule)
	}
	return a
}

func (raw *rawRule) check(doc *document, at path) analysis.Rule {
	if raw.Name == "" {
		doc.Refuse(at.With("name"), "a rule needs a name")
	}
	doc.Known(at.With("metric"), raw.Metric, ruleMetrics())
	doc.Known(at.With("severity"), raw.Severity, ruleSeverities())
	severity, _ := analysis.ParseSeverity(raw.Severity) // refused above when it is unknown
	if raw.For < 0 {
		doc.Refuse(at.With("for"), "must not be negative")
	}
	rule := analysis.Rule{
		Name: raw.Name, Metric: analysis.Metric(raw.Metric), Severity: severity, For: time.Duration(raw.For),
		Suggestion: raw.Suggestion, Impact: raw.Impact, Effort: raw.Effort, Priority: raw.Priority,
	}
	switch {
	case count(raw.Above != nil, raw.Below != nil) != 1:
		doc.Refuse(at, "exactly one of above and below is needed, found %d", count(raw.Above != nil, raw.Below != nil))
	case raw.Above != nil:
		rule.Compare, rule.Threshold = analysis.Above, *raw.Above
	default:
		rule.Compare, rule.Threshold = analysis.Below, *raw.Below
	}
	return rule
}
