package livepage

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

// scripted is a feed whose state the test sets.
func scripted() (*feed, *State) {
	state := &State{Clients: []Client{{Node: "envoy-0", Types: []Sync{{Type: "eds", Status: "ack"}}}}}
	return &feed{history: &history{}, assemble: func(now time.Time) State {
		s := *state
		s.Time = now
		s.Clients = []Client{{Node: "envoy-0", Connected: now.Sub(epoch).Seconds(), Types: []Sync{{Type: "eds", Status: "ack", Age: now.Sub(epoch).Seconds()}}}}
		return s
	}}, state
}

// look asks at t milliseconds and returns the version of the state.
func lookAt(t *testing.T, f *feed, ms int) uint64 {
	t.Helper()
	s, err := f.at(epoch.Add(time.Duration(ms) * time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	return s.stateVersion
}

func TestFeedSendsChangesAtOnceButNotOften(t *testing.T) {
	f, state := scripted()
	for _, step := range []struct {
		ms   int
		say  string // becomes the state's summary
		want uint64
	}{
		{0, "a", 1},      // the first
		{300, "a", 1},    // ages are no change
		{1500, "a", 1},   // nor later
		{1800, "b", 2},   // a change after a quiet second goes at once
		{2300, "c", 2},   // the next must wait
		{2790, "c", 2},   // until a second after the one before
		{2810, "c", 2},   // (looked at 20 ms ago: not looked at again)
		{3050, "c", 3},   //
		{5900, "c", 3},   // quiet
		{6150, "c", 4},   // the heartbeat
		{60_000, "c", 5}, // after a pause
	} {
		state.Summary = step.say
		if got := lookAt(t, f, step.ms); got != step.want {
			t.Errorf("at %d ms: version %d, want %d", step.ms, got, step.want)
		}
	}
}

func TestFeedSendsNewPoints(t *testing.T) {
	f, _ := scripted()
	lookAt(t, f, 0)
	before := f.newest.chartVersion
	feedSeconds(f.history, 0, 11, func(int) map[string]analysis.PodSample { return map[string]analysis.PodSample{"chat": {Requests: 1}} })
	lookAt(t, f, 500)
	if f.newest.chartVersion == before {
		t.Fatal("a complete point brought no new version")
	}
	var c chart
	if err := json.Unmarshal(f.newest.chart, &c); err != nil || len(c.Services["chat"].RequestRate) != 1 {
		t.Errorf("chart %s, %v; want one point of chat", f.newest.chart, err)
	}
}
