package insight

import (
	"cmp"
	"slices"
	"time"
)

// calm is the number of samples in a row that must not break the rule before an
// issue is resolved, so that a figure near its threshold does not flap.
const calm = 3

// Issue is a rule broken by a pod, a service or a process.
type Issue struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Scope
	// Message says what is wrong, with the figures.
	Message string `json:"message"`
	// Since is the sample that first broke the rule.
	Since time.Time `json:"since"`
	// Value is the newest value that broke the rule, Threshold what it broke.
	Value     float64 `json:"value"`
	Threshold float64 `json:"threshold"`
}

// Event is an issue that opened or was resolved.
type Event struct {
	Issue
	// Resolved tells the two apart; At is when it happened.
	Resolved bool
	At       time.Time
}

type issueKey struct {
	rule  string
	scope Scope
}

// issueState is an issue on its way: pending until its rule's For has passed,
// then open until the rule was kept for calm samples.
type issueState struct {
	rule    *Rule
	scope   Scope
	open    bool
	since   time.Time
	kept    int     // samples in a row that kept the rule
	verdict verdict // the newest that broke the rule
	advice  advice
}

func (s *issueState) issue() Issue {
	return Issue{
		Rule: s.rule.Name, Severity: s.rule.Severity, Scope: s.scope,
		Message: s.advice.message, Since: s.since, Value: s.verdict.value, Threshold: s.rule.Threshold,
	}
}

// advanceLocked moves every issue on by one sample.
func (a *Analyzer) advanceLocked(now time.Time, broken map[issueKey]verdict) []Event {
	var events []Event
	for i := range a.rules {
		rule := &a.rules[i]
		for key, v := range broken {
			if key.rule != rule.Name {
				continue
			}
			state := a.issues[key]
			if state == nil {
				state = &issueState{rule: rule, scope: key.scope, since: now}
				a.issues[key] = state
			}
			v.since = state.since
			state.kept, state.verdict = 0, v
			state.advice = a.adviseLocked(rule, key.scope, v)
			if !state.open && now.Sub(state.since) >= rule.For {
				state.open = true
				events = append(events, Event{Issue: state.issue(), At: now})
			}
		}
	}
	events = append(events, a.resolveLocked(now, broken)...)
	slices.SortFunc(events, func(x, y Event) int {
		return cmp.Or(-cmp.Compare(x.Severity, y.Severity), cmp.Compare(x.Rule, y.Rule), compareScopes(x.Scope, y.Scope))
	})
	return events
}

// resolveLocked ends the issues whose rule is kept again, and those whose scope
// is gone or idle, for then nothing breaks it.
func (a *Analyzer) resolveLocked(now time.Time, broken map[issueKey]verdict) (events []Event) {
	for key, state := range a.issues {
		if _, still := broken[key]; still {
			continue
		}
		state.kept++
		switch {
		case !state.open:
			delete(a.issues, key)
		case state.kept >= calm:
			delete(a.issues, key)
			events = append(events, Event{Issue: state.issue(), Resolved: true, At: now})
		}
	}
	return events
}

// openLocked returns the open issues of a service, or all for "", the most
// severe first and then the oldest.
func (a *Analyzer) openLocked(service string) []*issueState {
	var open []*issueState
	for _, state := range a.issues {
		if state.open && (service == "" || state.scope.Service == service) {
			open = append(open, state)
		}
	}
	slices.SortFunc(open, func(x, y *issueState) int {
		return cmp.Or(-cmp.Compare(x.rule.Severity, y.rule.Severity), x.since.Compare(y.since),
			cmp.Compare(x.rule.Name, y.rule.Name), compareScopes(x.scope, y.scope))
	})
	return open
}

// Open counts the open issues by severity.
func (a *Analyzer) Open() map[Severity]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	counts := make(map[Severity]int)
	for _, state := range a.openLocked("") {
		counts[state.rule.Severity]++
	}
	return counts
}

// Finding says by how much a pod's weight should be lowered because of an issue.
type Finding struct {
	Service, Pod, Rule string
	// Factor multiplies the weight: at least leastFactor, below 1.
	Factor float64
}

// leastFactor keeps enough traffic on a bad pod to see it recover.
const leastFactor = .1

// Findings returns what the open issues mean for the pods' weights: a slow pod
// keeps the share that its peers' response time is of its own, a failing one
// the share of requests that it serves. An issue of a whole service lowers
// nothing, for there is no better pod to send its requests to.
func (a *Analyzer) Findings() []Finding {
	a.mu.Lock()
	defer a.mu.Unlock()
	var findings []Finding
	for _, state := range a.openLocked("") {
		if state.advice.lowers {
			findings = append(findings, Finding{
				Service: state.scope.Service, Pod: state.scope.Pod, Rule: state.rule.Name, Factor: state.advice.factor,
			})
		}
	}
	return findings
}
