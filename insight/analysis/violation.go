package analysis

import "cmp"

// violation is a rule and what breaks it.
type violation struct {
	rule       *Rule
	scope      Scope
	evaluation evaluation
}

func compareScopes(a, b Scope) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Process, b.Process))
}

// violationsLocked applies every rule to what was part of the newest sample.
func (a *Analyzer) violationsLocked() (broken []violation) {
	for name, h := range a.services {
		if !a.isCurrentLocked(&h.total) {
			continue
		}
		for i := range a.rules {
			broken = append(broken, a.serviceViolationsLocked(&a.rules[i], name, h)...)
		}
	}
	for name, s := range a.processes {
		if !a.isCurrentLocked(s) {
			continue
		}
		scope := Scope{Process: name}
		for i := range a.rules {
			if v, known := a.rules[i].evaluate(scope, s); known && v.broken {
				broken = append(broken, violation{&a.rules[i], scope, v})
			}
		}
	}
	return broken
}

// serviceViolationsLocked decides what an issue is about where a rule is broken both by pods
// and by their service: by a few pods, those pods; by most of them, which no
// single pod explains, the service as a whole. A rule that has a measure of its
// own judges each by itself.
func (a *Analyzer) serviceViolationsLocked(rule *Rule, name string, h *serviceHistory) (bad []violation) {
	evaluated := 0
	for pod, s := range h.pods {
		if !a.isCurrentLocked(s) {
			continue
		}
		scope := Scope{Service: name, Pod: pod}
		v, known := rule.evaluate(scope, s)
		if known {
			evaluated++
		}
		if known && v.broken {
			bad = append(bad, violation{rule, scope, v})
		}
	}
	scope := Scope{Service: name}
	v, known := rule.evaluate(scope, &h.total)
	common := rule.Measure == nil && evaluated > 1 && 2*len(bad) > evaluated
	if common {
		bad = nil
	}
	switch {
	case !known:
	case common:
		v.window = h.total.newest(scope, v.window.Samples)
		bad = append(bad, violation{rule, scope, v})
	case v.broken && (rule.Measure != nil || len(bad) == 0):
		bad = append(bad, violation{rule, scope, v})
	}
	return bad
}
