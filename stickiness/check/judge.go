package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/history"
)

// Judge sorts every record of the history.
func Judge(h history.History) Result {
	verdicts := make([]Verdict, len(h.Records))
	bySession := map[string][]int{}
	for i, r := range h.Records {
		bySession[r.Session] = append(bySession[r.Session], i)
	}
	spread, onDraining := map[string]int{}, 0
	for _, indices := range bySession {
		slices.SortStableFunc(indices, func(a, b int) int { return cmp.Compare(h.Records[a].Received, h.Records[b].Received) })
		s := session{world: h, streams: map[int]place{}}
		for _, i := range indices {
			verdicts[i] = s.judge(h.Records[i])
		}
		if s.first != "" {
			spread[s.first]++
		}
		if s.newOnDraining {
			onDraining++
		}
	}
	result := count(h, verdicts)
	result.Spread, result.NewOnDraining, result.OnePod = spread, onDraining, onePod(spread, len(h.Pods))
	return result
}

// place is a pod in one of its lives.
type place struct {
	pod         string
	incarnation int64
}

// session is what is known of one while its records are judged in the order in
// which they were received.
type session struct {
	world history.History
	seen  []history.Record // with a good answer

	owner    place
	owned    bool
	since    time.Duration // when the owner's first answer was there
	lastSent time.Duration // of the owner's latest answer
	before   place         // the owner before
	strayed  place         // where it was wrongly sent
	streams  map[int]place // where each stream began

	first         string
	newOnDraining bool
}

func (s *session) judge(r history.Record) Verdict {
	switch {
	case r.Err != "":
		return Verdict{Class: Failed, Reason: r.Err, Unexplained: !s.explained(r)}
	case r.Status >= 300:
		return Verdict{Class: Refused, Reason: refusal(r), Unexplained: !s.explained(r)}
	}
	if reason := s.disbelief(r); reason != "" {
		return Verdict{Class: WrongPod, Reason: reason}
	}
	at := place{r.Answer.Pod, r.Answer.Incarnation}
	v := s.placed(r, at)
	if v.Class != WrongPod {
		if reason := s.lost(r, at); reason != "" {
			v = Verdict{Class: LostVisits, Reason: reason}
		}
	}
	if v.Class != LostVisits { // what it should hold is what it held before
		s.seen = append(s.seen, r)
	}
	if r.Stream != 0 {
		s.streams[r.Stream] = at
	}
	return v
}

func refusal(r history.Record) string {
	if r.Reason == "" {
		return fmt.Sprintf("%d without a reason", r.Status)
	}
	return fmt.Sprintf("%d %s", r.Status, r.Reason)
}

// disbelief is why an answer is none of the pods' to this request.
func (s *session) disbelief(r history.Record) string {
	a := r.Answer
	switch {
	case a == nil:
		return "not a pod's answer"
	case !a.Signed(s.world.Pods[a.Pod].Secret):
		return "signed by no pod"
	case a.Session != r.Session:
		return "another session's answer"
	case a.Nonce != r.Nonce:
		return "an answer to another request"
	}
	return ""
}

// placed judges which pod answered, and notes whose the session is.
func (s *session) placed(r history.Record, at place) Verdict {
	switch {
	case !s.owned:
		s.first = at.pod
		s.newOnDraining = history.Covers(s.world.Pods[at.pod].Draining, r.Sent-s.world.Settle, r.Received)
		s.own(r, at)
		return Verdict{Class: Right}
	case r.Stream != 0 && s.streams[r.Stream] == at:
		// What began on a pod may go on there, whoever got the session meanwhile.
		if at == s.owner {
			s.lastSent = r.Sent
		}
		return Verdict{Class: Right}
	case at == s.owner:
		s.lastSent = r.Sent
		return Verdict{Class: Right}
	case at == s.before && r.Sent < s.since:
		return Verdict{Class: Right, Reason: "sent before the session was rebound"}
	}
	reason := s.excuse(s.owner.pod, r)
	if at == s.strayed && reason == s.stalled(s.owner.pod, r) {
		reason = "" // it was there before the stall
	}
	if s.ended(r) {
		reason = "the pod's memory ended"
	}
	if at.pod == s.owner.pod { // in another life
		if reason == "" {
			return Verdict{Class: LostVisits, Reason: "the pod was restarted by nobody"}
		}
		s.own(r, at)
		return Verdict{Class: Right, Reason: "its pod was restarted"}
	}
	if reason == "" {
		s.strayed = at
		return Verdict{Class: WrongPod, Reason: "another pod"}
	}
	s.own(r, at)
	return Verdict{Class: Rebound, Reason: reason}
}

func (s *session) own(r history.Record, at place) {
	s.before, s.owner, s.owned, s.since, s.lastSent = s.owner, at, true, r.Received, r.Sent
}

// ended reports whether the owner's process may have ended since it answered last.
func (s *session) ended(r history.Record) bool {
	return slices.ContainsFunc(s.world.Pods[s.owner.pod].Ends, func(at time.Duration) bool {
		return s.lastSent <= at && at <= r.Received
	})
}

// lost is what the pod no longer knows of the session, though it answered for it
// in the same life and before this request was sent.
func (s *session) lost(r history.Record, at place) string {
	if r.Key != "" && r.Key != r.Answer.Key {
		return "the pod saw another id"
	}
	for _, q := range s.seen {
		if q.Received > r.Sent || q.Answer.Pod != at.pod || q.Answer.Incarnation != at.incarnation {
			continue
		}
		if r.Answer.Visits <= q.Answer.Visits || r.Answer.Since != q.Answer.Since {
			return "fewer visits than before"
		}
	}
	return ""
}
