package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"
)

// excuse is what explains that a request failed, or was served by another pod than its
// session's.
type excuse int

const (
	// excused: the request was on what was killed, or on its way there.
	excused excuse = iota
	// refused: it got the 503 that its service asks for in place of another pod.
	refused
	// astray: nobody could know the session's pod, and its service allows that. The session
	// stays bound as it was.
	astray
	// moved: the session's pod is lost, or it was told to move. It is at home on its new pod.
	moved
)

// faultRule excuses requests that failed (excused, refused) or were served by another pod than
// owner (astray, moved), which had served the session last in a request that began at last.
// owner is empty for what has no session, and for a session that nobody has served yet.
type faultRule struct {
	as excuse
	is func(s faultSeen, owner string, last time.Time) bool
}

// home is what is known of a session's pod.
type home struct {
	pod  string
	last time.Time // when the last request that it served began
}

// faultJudge follows each session from pod to pod over all faults.
type faultJudge struct {
	homes map[string]home // by service and key
}

// faultSums are the figures of one fault that all faults have.
type faultSums struct {
	requests, failed, broken        int
	excused, refused, astray, moved int
	mostMoves                       int // of one session
	first                           string
	p99                             time.Duration // of what was served
}

// judge sums up what was seen during one fault, in the order of the answers.
func (j *faultJudge) judge(all []faultSeen, rules []faultRule) faultSums {
	sums := faultSums{requests: len(all)}
	moves := map[string]int{}
	var took []time.Duration
	for _, s := range all {
		name := s.service + "/" + s.key
		at := j.homes[name]
		if s.failure != "" {
			j.failed(&sums, s, at, rules)
			continue
		}
		took = append(took, s.took())
		if s.key == "" {
			continue
		}
		if at.pod != s.pod && excuses(rules, astray, s, at) {
			if at.pod != "" {
				sums.astray++
			}
			continue
		}
		switch {
		case at.pod == "" || at.pod == s.pod:
		case excuses(rules, moved, s, at):
			sums.moved++
			moves[name]++
			sums.mostMoves = max(sums.mostMoves, moves[name])
		default:
			sums.broken++
			sums.first = cmp.Or(sums.first, fmt.Sprintf("a session of %s was served by %s at %s", at.pod, s.pod, s.began.Format(time.TimeOnly)))
		}
		j.homes[name] = home{s.pod, s.began}
	}
	sums.p99 = quantile(took, 99)
	return sums
}

func (j *faultJudge) failed(sums *faultSums, s faultSeen, at home, rules []faultRule) {
	switch {
	case excuses(rules, excused, s, at):
		sums.excused++
	case excuses(rules, refused, s, at):
		sums.refused++
	default:
		sums.failed++
		sums.first = cmp.Or(sums.first, fmt.Sprintf("%s: %q at %s", cmp.Or(at.pod, s.service), s.failure, s.began.Format(time.TimeOnly)))
	}
}

func excuses(rules []faultRule, as excuse, s faultSeen, at home) bool {
	return slices.ContainsFunc(rules, func(r faultRule) bool { return r.as == as && r.is(s, at.pod, at.last) })
}

// quantile returns that of so many percent; it sorts.
func quantile(took []time.Duration, percent int) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(len(took)*percent/100, len(took)-1)]
}

// killed are the rules for the kill of a pod: its sessions move, once; requests that were on
// it fail, and those of its sessions are refused until its death is known.
func killed(pod string, at, known time.Time, breaking time.Duration) []faultRule {
	return []faultRule{
		{moved, func(s faultSeen, owner string, last time.Time) bool {
			return owner == pod && !last.After(at) && s.ended.After(at)
		}},
		{excused, func(s faultSeen, owner string, _ time.Time) bool {
			// Which pod had a request without a session, or a session's first one, is not known.
			return (owner == pod || owner == "") && s.ended.After(at) && s.began.Before(at.Add(breaking))
		}},
		{excused, func(s faultSeen, owner string, _ time.Time) bool {
			return owner == pod && s.reason == "503" && s.ended.After(at) && s.began.Before(known)
		}},
	}
}

// The judge excuses what a fault explains, and nothing else.
func TestFaultsAreJudged(t *testing.T) {
	t.Parallel()
	t0 := time.Now()
	at := func(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }
	served := func(began float64, pod string) faultSeen {
		return faultSeen{service: "chat", key: "k", began: at(began), ended: at(began + .1), pod: pod}
	}
	fails := func(began float64, reason string) faultSeen {
		return faultSeen{service: "chat", key: "k", began: at(began), ended: at(began + .2), failure: "it failed", reason: reason}
	}
	of := func(key string, s faultSeen) faultSeen { s.key = key; return s }
	kill := killed("chat-0", at(10), at(13), 200*time.Millisecond)
	loose := []faultRule{{astray, func(s faultSeen, _ string, _ time.Time) bool { return s.began.After(at(10)) && s.began.Before(at(20)) }}}
	for name, c := range map[string]struct {
		seen  []faultSeen
		rules []faultRule
		want  faultSums
	}{
		"stays":                        {[]faultSeen{served(9, "chat-1"), served(12, "chat-1")}, kill, faultSums{}},
		"moves with its pod":           {[]faultSeen{served(9, "chat-0"), served(14, "chat-1"), served(15, "chat-1")}, kill, faultSums{moved: 1, mostMoves: 1}},
		"moves twice":                  {[]faultSeen{served(9, "chat-0"), served(14, "chat-1"), served(15, "chat-2")}, kill, faultSums{moved: 1, mostMoves: 1, broken: 1}},
		"moves back":                   {[]faultSeen{served(9, "chat-0"), served(14, "chat-1"), served(15, "chat-0")}, kill, faultSums{moved: 1, mostMoves: 1, broken: 1}},
		"moves before":                 {[]faultSeen{served(8, "chat-0"), served(9, "chat-1")}, kill, faultSums{broken: 1}},
		"moves though it was back":     {[]faultSeen{served(20, "chat-0"), served(21, "chat-1")}, kill, faultSums{broken: 1}},
		"moves off another":            {[]faultSeen{served(9, "chat-2"), served(14, "chat-1")}, kill, faultSums{broken: 1}},
		"in flight":                    {[]faultSeen{served(9, "chat-0"), fails(9.9, "")}, kill, faultSums{excused: 1}},
		"in flight elsewhere":          {[]faultSeen{served(9, "chat-1"), fails(9.9, "")}, kill, faultSums{failed: 1}},
		"in flight for the first time": {[]faultSeen{fails(9.9, "")}, kill, faultSums{excused: 1}},
		"in flight without session":    {[]faultSeen{of("", fails(9.9, "502"))}, kill, faultSums{excused: 1}},
		"later without a session":      {[]faultSeen{of("", fails(10.5, "503"))}, kill, faultSums{failed: 1}},
		"before its death is known":    {[]faultSeen{served(9, "chat-0"), fails(11, "503")}, kill, faultSums{excused: 1}},
		"not refused but broken":       {[]faultSeen{served(9, "chat-0"), fails(11, "")}, kill, faultSums{failed: 1}},
		"refused after that":           {[]faultSeen{served(9, "chat-0"), fails(13.1, "503")}, kill, faultSums{failed: 1}},
		"astray and home again":        {[]faultSeen{served(9, "chat-0"), served(11, "chat-1"), served(12, "chat-2"), served(21, "chat-0")}, loose, faultSums{astray: 2}},
		"astray and not home again":    {[]faultSeen{served(9, "chat-0"), served(11, "chat-1"), served(21, "chat-1")}, loose, faultSums{astray: 1, broken: 1}},
		"first request while astray":   {[]faultSeen{served(11, "chat-1"), served(21, "chat-2"), served(22, "chat-2")}, loose, faultSums{}},
	} {
		j := faultJudge{homes: map[string]home{}}
		got := j.judge(c.seen, c.rules)
		got.requests, got.first, got.p99 = 0, "", 0
		if got != c.want {
			t.Errorf("%s: %+v; want %+v", name, got, c.want)
		}
	}
}
