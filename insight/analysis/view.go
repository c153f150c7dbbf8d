package analysis

import "time"

// view is what the newest sample led to. It is never changed once it is
// published, so that readers need no lock.
type view struct {
	at          time.Time // of the sample; zero before the first
	issues      []Issue
	suggestions []Suggestion        // one for each issue
	factors     map[Scope]float64   // of the pods' weights: the least that an issue of the pod says
	observed    map[string]observed // by service; "" for all, the processes too
}

// observed is how much there is to speak of.
type observed struct {
	length   time.Duration
	requests bool // there was at least one
}

func (a *Analyzer) viewLocked() *view {
	v := &view{at: a.last, observed: a.observedLocked(), factors: map[Scope]float64{}}
	for _, state := range a.openLocked() {
		v.issues = append(v.issues, state.issue())
		v.suggestions = append(v.suggestions, Suggestion{
			Rule: state.rule.Name, Scope: state.scope, Suggestion: state.advice.suggestion,
			Impact: state.rule.Impact, Effort: state.rule.Effort, Priority: state.rule.Priority,
		})
		if state.weight == weightLowered {
			if least, found := v.factors[state.scope]; !found || state.advice.factor < least {
				v.factors[state.scope] = state.advice.factor
			}
		}
	}
	return v
}

func (a *Analyzer) observedLocked() map[string]observed {
	out := make(map[string]observed, len(a.services)+1)
	var all observed
	for name, h := range a.services {
		length, requests := h.total.observed()
		out[name] = observed{length, requests}
		all = observed{max(all.length, length), all.requests || requests}
	}
	for _, s := range a.processes {
		length, _ := s.observed()
		all.length = max(all.length, length)
	}
	out[""] = all
	return out
}
