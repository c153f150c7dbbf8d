package analysis

import (
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// flapCounter counts how often pods began to fail their health checks in the last
// minute.
type flapCounter struct{ pods map[Scope]*flapping } // those that failed

// flapping is a pod that failed a health check.
type flapping struct {
	failing bool
	began   []time.Time // the latest times it began to, at most mostFlaps
}

const (
	flapWindow = time.Minute
	// mostFlaps is more than a pod can begin to fail in a minute unless it is probed
	// more than four times a second.
	mostFlaps = 128
)

func (f *flapCounter) probed(now time.Time, pod Scope, healthy bool) {
	p := f.pods[pod]
	switch {
	case p == nil && healthy:
		return
	case p == nil:
		p = &flapping{}
		f.pods[pod] = p
	}
	if !healthy && !p.failing {
		if len(p.began) == mostFlaps {
			p.began = append(p.began[:0], p.began[1:]...)
		}
		p.began = append(p.began, now)
	}
	p.failing = !healthy
}

// count returns the flaps of pods that have any, and forgets those that are not
// among the pods that there are or have been well for long enough.
func (f *flapCounter) count(now time.Time, pods map[string]map[string]statefulroute.PodState) map[Scope]int {
	counts := make(map[Scope]int, len(f.pods))
	for scope, p := range f.pods {
		for len(p.began) > 0 && now.Sub(p.began[0]) > flapWindow {
			p.began = p.began[1:]
		}
		_, there := pods[scope.Service][scope.Pod]
		if !there || len(p.began) == 0 && !p.failing {
			delete(f.pods, scope)
			continue
		}
		counts[scope] = len(p.began)
	}
	return counts
}
