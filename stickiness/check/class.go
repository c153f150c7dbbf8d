package check

import "github.com/stateful-route/stateful-route/stickiness/history"

// Class is what a record is sorted into.
type Class string

// The classes.
const (
	// Right: by the session's own pod, which had all of its visits.
	Right Class = "right"
	// Rebound: by another pod, and its own could not serve. It is the session's
	// own from now on.
	Rebound Class = "rebound"
	// Refused: not served, and the status says so.
	Refused Class = "refused"
	// WrongPod: served by another pod though the session's own could serve; or by
	// none that signs, or with an answer to something else. The client is not told.
	WrongPod Class = "wrong pod"
	// LostVisits: by the session's own pod, in the same life, without its state.
	LostVisits Class = "lost visits"
	// Failed: no whole answer.
	Failed Class = "failed"
)

// Classes are all of them, in the order of the tables.
func Classes() []Class {
	return []Class{Right, Rebound, Refused, WrongPod, LostVisits, Failed}
}

// Verdict is what became of a record.
type Verdict struct {
	Class  Class  `json:"class"`
	Reason string `json:"reason,omitempty"`
	// Unexplained is a refusal or a failure though the session's pod and the
	// gateway could serve.
	Unexplained bool `json:"unexplained,omitempty"`
}

// Result is what became of a run.
type Result struct {
	Records     int                      `json:"records"`
	Sessions    int                      `json:"sessions"`
	Counts      map[Class]int            `json:"counts"`      // together Records
	Hit         map[Class]int            `json:"hit"`         // sessions with a record of the class
	Unexplained map[Class]int            `json:"unexplained"` // of Refused and Failed
	Reasons     map[Class]map[string]int `json:"reasons"`
	// Spread is how many sessions each pod was the first to answer.
	Spread map[string]int `json:"spread"`
	// NewOnDraining is how many of them did so while it was to get no new ones.
	NewOnDraining int `json:"new_on_draining"`
	// OnePod is whether one pod was the first to answer nine of ten sessions, of
	// twenty at least, though there were others: they may have been taken for one.
	OnePod bool `json:"one_pod,omitempty"`
	// Verdicts are those of History.Records, in their order.
	Verdicts []Verdict `json:"-"`
}

// onePod is about sessions by the pod that answered first, of so many pods.
func onePod(spread map[string]int, pods int) bool {
	const enough, share = 20, 0.9
	sum, most := 0, 0
	for _, n := range spread {
		sum, most = sum+n, max(most, n)
	}
	return pods > 1 && sum >= enough && float64(most) >= share*float64(sum)
}

// Kept reports whether no session was silently served wrong.
func (r Result) Kept() bool { return r.Counts[WrongPod] == 0 && r.Counts[LostVisits] == 0 }

func count(h history.History, verdicts []Verdict) Result {
	r := Result{
		Records: len(h.Records), Counts: map[Class]int{}, Hit: map[Class]int{}, Unexplained: map[Class]int{},
		Reasons: map[Class]map[string]int{}, Spread: map[string]int{}, Verdicts: verdicts,
	}
	hit := map[Class]map[string]bool{}
	sessions := map[string]bool{}
	for i, v := range verdicts {
		session := h.Records[i].Session
		sessions[session] = true
		r.Counts[v.Class]++
		if v.Unexplained {
			r.Unexplained[v.Class]++
		}
		if v.Reason != "" {
			if r.Reasons[v.Class] == nil {
				r.Reasons[v.Class] = map[string]int{}
			}
			r.Reasons[v.Class][v.Reason]++
		}
		if hit[v.Class] == nil {
			hit[v.Class] = map[string]bool{}
		}
		hit[v.Class][session] = true
	}
	for class, of := range hit {
		r.Hit[class] = len(of)
	}
	r.Sessions = len(sessions)
	return r
}
