package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// resolveAfter is the number of samples in a row that must not break the rule before an
// issue is resolved, so that a figure near its threshold does not flap.
const resolveAfter = 3

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
// then open until the rule was kept for resolveAfter samples.
type issueState struct {
	rule       *Rule
	scope      Scope
	open       bool
	since      time.Time
	kept       int        // samples in a row that kept the rule
	evaluation evaluation // the newest that broke the rule
	advice     advice
	weight     weightEffect
}

// weightEffect says what an issue means for its pod's weight.
type weightEffect uint8

const (
	weightUnaffected weightEffect = iota
	weightLowered
	// weightKept: as the balancing does, for the fault is elsewhere when more than
	// half of a service's pods look bad.
	weightKept
)

func (s *issueState) issue() Issue {
	message := s.advice.message
	switch s.weight {
	case weightUnaffected:
	case weightLowered:
		message += fmt.Sprintf("; its weight is lowered to %s meanwhile", percent(s.advice.factor))
	case weightKept:
		message += "; its weight is kept, for most pods of the service look bad"
	}
	return Issue{
		Rule: s.rule.Name, Severity: s.rule.Severity, Scope: s.scope,
		Message: message, Since: s.since, Value: s.evaluation.value, Threshold: s.rule.Threshold,
	}
}

// advanceLocked moves every issue on by one sample.
func (a *Analyzer) advanceLocked(now time.Time, broken []violation) []Event {
	var opened []*issueState
	still := make(map[issueKey]bool, len(broken))
	for i := range broken {
		rule, scope, v := broken[i].rule, broken[i].scope, broken[i].evaluation
		key := issueKey{rule: rule.Name, scope: scope}
		still[key] = true
		state := a.issues[key]
		if state == nil {
			state = &issueState{rule: rule, scope: scope, since: now}
			a.issues[key] = state
		}
		v.since = state.since
		state.kept, state.evaluation = 0, v
		state.advice = a.adviseLocked(rule, scope, v)
		if !state.open && now.Sub(state.since) >= rule.For {
			state.open = true
			opened = append(opened, state)
		}
	}
	events := a.resolveLocked(now, still)
	a.weighLocked()
	for _, state := range opened {
		events = append(events, Event{Issue: state.issue(), At: now})
	}
	slices.SortFunc(events, func(x, y Event) int {
		return cmp.Or(-cmp.Compare(x.Severity, y.Severity), cmp.Compare(x.Rule, y.Rule), compareScopes(x.Scope, y.Scope))
	})
	return events
}

// weighLocked decides which open issues lower their pod's weight.
func (a *Analyzer) weighLocked() {
	bad := map[string]map[string]bool{} // service -> pods
	open := a.openLocked()
	for _, state := range open {
		if service := state.scope.Service; state.advice.lowers {
			if bad[service] == nil {
				bad[service] = map[string]bool{}
			}
			bad[service][state.scope.Pod] = true
		}
	}
	for _, state := range open {
		switch service := state.scope.Service; {
		case !state.advice.lowers:
			state.weight = weightUnaffected
		case 2*len(bad[service]) > a.podsLocked(service):
			state.weight = weightKept
		default:
			state.weight = weightLowered
		}
	}
}

// resolveLocked ends the issues whose rule is kept again, and those whose scope
// is gone or idle, for then nothing breaks it.
func (a *Analyzer) resolveLocked(now time.Time, broken map[issueKey]bool) (events []Event) {
	for key, state := range a.issues {
		if broken[key] {
			continue
		}
		state.kept++
		switch {
		case !state.open:
			delete(a.issues, key)
		case state.kept >= resolveAfter:
			delete(a.issues, key)
			events = append(events, Event{Issue: state.issue(), Resolved: true, At: now})
		}
	}
	return events
}

// openLocked returns the open issues, the most severe first and then the oldest.
func (a *Analyzer) openLocked() []*issueState {
	var open []*issueState
	for _, state := range a.issues {
		if state.open {
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
	counts := make(map[Severity]int)
	for _, issue := range a.published.Load().issues {
		counts[issue.Severity]++
	}
	return counts
}

// leastFactor keeps enough traffic on a bad pod to see it recover.
const leastFactor = .1

// WeightFactor is what a pod's weight is to be multiplied by because of the open
// issues, 1 where none lowers it: a slow pod keeps the share that its peers' response
// time is of its own, a failing one the share of requests that it serves, and the
// lesser of two counts. An issue of a whole service lowers nothing, for there is no
// better pod to send its requests to, and neither do the issues of more than half of a
// service's pods.
func (a *Analyzer) WeightFactor(service, pod string) float64 {
	if factor, found := a.published.Load().factors[Scope{Service: service, Pod: pod}]; found {
		return factor
	}
	return 1
}
