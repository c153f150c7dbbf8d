package insight

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// AnalyzerOptions configures an Analyzer.
type AnalyzerOptions struct {
	// Interval is the expected time between two samples. 0 means 5 s.
	Interval time.Duration
	// History is the number of samples kept of each pod, service and process.
	// 0 means 720: an hour at the default interval.
	History int
	// Historical turns the search for trends and changes on; it is done when a
	// report is asked for, not at each sample.
	Historical bool
	// Steered says whether findings lower the weights of a service's pods; nil
	// means that they always do. It must not call the analyzer.
	Steered func(service string) bool
	// Rules join the built-in ones; one that has a built-in name replaces it.
	Rules []Rule
}

func (o *AnalyzerOptions) validate() error {
	if o.Interval < 0 || o.History < 0 {
		return fmt.Errorf("insight: negative analyzer interval %v or history %d", o.Interval, o.History)
	}
	o.Interval = cmp.Or(o.Interval, 5*time.Second)
	o.History = cmp.Or(o.History, 720)
	return nil
}

// Analyzer keeps a bounded history of what was observed and holds issues open
// for as long as it breaks a rule. It has no clock and no goroutine: whoever
// owns it passes samples and times in, and acts on the events that come out.
// Its methods may be called from any goroutine.
type Analyzer struct {
	options AnalyzerOptions
	rules   []Rule

	mu      sync.Mutex
	history map[Scope]*series
	issues  map[issueKey]*issueState
	digests map[string]digest // of the history as it is, by service
	table   TableSample
	last    time.Time // when the newest sample was taken; zero before the first
}

// NewAnalyzer returns an analyzer that has observed nothing.
func NewAnalyzer(o AnalyzerOptions) (*Analyzer, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	rules, err := mergeRules(o.Rules)
	if err != nil {
		return nil, err
	}
	return &Analyzer{
		options: o,
		rules:   rules,
		history: make(map[Scope]*series),
		issues:  make(map[issueKey]*issueState),
		digests: make(map[string]digest),
	}, nil
}

// Observe adds what happened since the sample before and returns the issues
// that opened or were resolved by it, the most severe first. A sample that is
// not later than the one before is ignored.
func (a *Analyzer) Observe(now time.Time, s Sample) []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	span := a.options.Interval
	if !a.last.IsZero() {
		span = now.Sub(a.last)
	}
	if span <= 0 {
		return nil
	}
	a.last, a.table = now, s.Table
	clear(a.digests)
	a.recordLocked(now, span, s)
	a.forgetLocked(now)
	return a.evaluateLocked(now)
}

// recordLocked turns the sample into one point per scope.
func (a *Analyzer) recordLocked(now time.Time, span time.Duration, s Sample) {
	for name, service := range s.Services {
		total := point{at: now, span: span, hits: service.Hits, misses: service.Misses, evictions: s.Table.Evictions}
		for pod, sample := range service.Pods {
			p := point{at: now, span: span, state: sample.State, flaps: int32(sample.Flaps)}
			p.add(sample)
			total.add(sample)
			a.pushLocked(Scope{Service: name, Pod: pod}, p)
		}
		a.pushLocked(Scope{Service: name}, total)
	}
	for name, usage := range s.Processes {
		a.pushLocked(Scope{Process: name}, point{at: now, span: span, usage: usage})
	}
}

func (a *Analyzer) pushLocked(scope Scope, p point) {
	of := a.history[scope]
	p.grown = p.sessions
	if of == nil {
		of = &series{}
		a.history[scope] = of
	} else {
		p.grown -= of.at(0).sessions
	}
	of.push(p, a.options.History)
}

// forgetLocked drops what has not been observed for a whole history.
func (a *Analyzer) forgetLocked(now time.Time) {
	oldest := now.Add(-time.Duration(a.options.History) * a.options.Interval)
	maps.DeleteFunc(a.history, func(_ Scope, s *series) bool { return s.at(0).at.Before(oldest) })
}

// currentLocked returns the scopes that were part of the newest sample, sorted.
func (a *Analyzer) currentLocked() []Scope {
	var scopes []Scope
	for scope, s := range a.history {
		if s.at(0).at.Equal(a.last) {
			scopes = append(scopes, scope)
		}
	}
	slices.SortFunc(scopes, compareScopes)
	return scopes
}

func compareScopes(a, b Scope) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Process, b.Process))
}

// evaluateLocked applies every rule and moves the issues on.
func (a *Analyzer) evaluateLocked(now time.Time) []Event {
	broken := make(map[issueKey]verdict)
	scopes := a.currentLocked()
	for i := range a.rules {
		rule := &a.rules[i]
		verdicts := make(map[Scope]verdict)
		for _, scope := range scopes {
			if v, known := rule.judge(scope, a.history[scope]); known {
				verdicts[scope] = v
			}
		}
		for scope, v := range blame(rule, verdicts) {
			broken[issueKey{rule: rule.Name, scope: scope}] = v
		}
	}
	return a.advanceLocked(now, broken)
}

// blame decides what an issue is about where a rule is broken both by pods and
// by their service: by a few pods, those pods; by most of them, which no single
// pod explains, the service as a whole.
func blame(rule *Rule, verdicts map[Scope]verdict) map[Scope]verdict {
	judged, bad := map[string]int{}, map[string]int{}
	for scope, v := range verdicts {
		if scope.Pod != "" {
			judged[scope.Service]++
			if v.broken {
				bad[scope.Service]++
			}
		}
	}
	blamed := make(map[Scope]verdict)
	for scope, v := range verdicts {
		n, b := judged[scope.Service], bad[scope.Service]
		common := n > 1 && 2*b > n
		switch {
		case rule.Measure != nil, scope.Process != "":
			// Each scope speaks for itself.
		case scope.Pod == "" && common:
			v.broken = true
		case scope.Pod == "" && b > 0, scope.Pod != "" && common:
			continue
		}
		if v.broken {
			blamed[scope] = v
		}
	}
	return blamed
}
