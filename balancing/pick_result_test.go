package balancing_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/balancing"
)

var quickly = balancing.Outcome{Kind: balancing.Success, ResponseTime: 10 * time.Millisecond}

// Streams that began to answer are open, not unanswered: a home keeps its sessions.
func TestLongResponsesLeaveSessionsAtHome(t *testing.T) {
	const lasts = time.Minute
	for _, pause := range []time.Duration{50 * time.Millisecond, 2 * time.Second} {
		b := newBalancer(t, balancing.Options{Strategy: "home_hcl", Repeatable: true}, makePods(4))
		var open []balancing.PickResult
		away, placed, now := 0, 0, t0
		for i := range 5000 {
			now = now.Add(pause)
			if len(open) > int(lasts/pause) {
				open[0].Done(now, balancing.Outcome{})
				open = open[1:]
			}
			key := strconv.Itoa(i)
			result := mustPick(t, b, now, key)
			result.Answered(now.Add(10*time.Millisecond), quickly)
			open = append(open, result)
			if home, _ := b.Home(key); home != result.Pod() {
				away++
			}
			placed++
		}
		if share := float64(away) / float64(placed); share > .05 {
			t.Errorf("one stream in %v: %.3f of the sessions are away from home", pause, share)
		}
	}
}

func TestAnAnswerTeachesOnceAndTheEndEndsTheRequest(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "round_robin"}, makePods(1))
	result := mustPick(t, b, t0, "")
	result.Answered(t0, quickly)
	result.Answered(t0, balancing.Outcome{Kind: balancing.Failure})
	if l := loadOf(t, b, "pod-0"); l.InFlight != 1 || l.ResponseTime != quickly.ResponseTime || !l.LastResponse.Equal(t0) {
		t.Errorf("a pod with one open stream: %+v", l)
	}
	if s := b.Stats(); s.Successful != 1 || s.Failed != 0 {
		t.Errorf("stats = %+v, want one success", s)
	}
	result.Done(t0.Add(time.Hour), balancing.Outcome{Kind: balancing.Failure, ResponseTime: time.Hour})
	result.Answered(t0.Add(time.Hour), balancing.Outcome{Kind: balancing.Failure})
	result.Cancel()
	if l := loadOf(t, b, "pod-0"); l.InFlight != 0 || l.ResponseTime != quickly.ResponseTime || l.ErrorRate != 0 {
		t.Errorf("after the stream's end: %+v", l)
	}
	if s := b.Stats(); s.TotalRequests != 1 || s.Successful != 1 || s.Failed != 0 {
		t.Errorf("stats = %+v, want one success", s)
	}
}

func TestACanceledPickIsNotCounted(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "round_robin"}, makePods(1))
	mustPick(t, b, t0, "").Done(t0, quickly)
	unused := mustPick(t, b, t0, "")
	unused.Cancel()
	unused.Done(t0, balancing.Outcome{Kind: balancing.Failure})
	if s := b.Stats(); s.TotalRequests != 1 || s.Failed != 0 {
		t.Errorf("stats = %+v, want one request", s)
	}
	if got := loadOf(t, b, "pod-0").InFlight; got != 0 {
		t.Errorf("in flight = %d, want 0", got)
	}
}

// What nobody waits for any more, or would tell, does not count, even beside open
// streams.
func TestWhatIsNotWaitedForDoesNotCount(t *testing.T) {
	for name, leave := range map[string]func(balancing.PickResult){
		"aborted":   func(k balancing.PickResult) { k.Done(t0, balancing.Outcome{Kind: balancing.Aborted}) },
		"canceled":  balancing.PickResult.Cancel,
		"unwatched": balancing.PickResult.Unwatched,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBalancer(t, balancing.Options{Strategy: "least_response_time", Repeatable: true}, makePods(2))
			feed(t, b, t0, 10*time.Millisecond, 10*time.Millisecond)
			for _, pod := range []string{"pod-0", "pod-1", "pod-1"} {
				stream, err := b.Start(t0, pod)
				if err != nil {
					t.Fatal(err)
				}
				stream.Answered(t0, quickly)
			}
			left, err := b.Start(t0, "pod-0")
			if err != nil {
				t.Fatal(err)
			}
			leave(left)
			seen := map[string]int{}
			for range 10 { // none answered yet
				seen[mustPick(t, b, t0.Add(5*time.Second), "").Pod()]++
			}
			if seen["pod-0"] < 4 {
				t.Errorf("picks %v: pod-0 looks as if it did not answer", seen)
			}
		})
	}
}
