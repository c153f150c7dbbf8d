package discovery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// podList are pods by name, each at an address of its own; a@2 gives one.
func podList(text string) []statefulroute.Pod {
	pods := []statefulroute.Pod{}
	for _, word := range strings.Fields(text) {
		name, port := word[:1], uint16(word[0])
		if _, at, ok := strings.Cut(word, "@"); ok {
			fmt.Sscan(at, &port)
		}
		pods = append(pods, testPod(name, port))
	}
	return pods
}

// TestHold tells what is served after each event: an answer, "-" for a
// reading that failed, "." for time that passes, "!" for an operator's word.
func TestHold(t *testing.T) {
	type step struct {
		at     int // seconds
		event  string
		served string
		held   bool
	}
	for name, c := range map[string]struct {
		hold  int
		steps []step
	}{
		"nothing was there before": {30, []step{{0, "", "", false}, {1, "a b", "a b", false}}},
		"half is no more than half": {30, []step{
			{0, "a b c d", "a b c d", false}, {1, "a b", "a b", false}, {2, "a", "a", false},
		}},
		"all, and they come back": {30, []step{
			{0, "a b c", "a b c", false}, {1, "", "a b c", true}, {5, "a b c", "a b c", false},
		}},
		"more than half, until it was said for hold": {30, []step{
			{0, "a b c", "a b c", false}, {1, "a", "a b c", true}, {20, "a", "a b c", true}, {30, ".", "a b c", true}, {31, ".", "a", false},
		}},
		"another loss goes on with the clock": {30, []step{
			{0, "a b c", "a b c", false}, {1, "", "a b c", true}, {20, "b", "b a c", true}, {31, ".", "b", false},
		}},
		"recovered in part, which is no loss": {30, []step{
			{0, "a b c d", "a b c d", false}, {1, "a", "a b c d", true}, {2, "a b", "a b", false}, {40, ".", "a b", false},
		}},
		"a new loss has a new clock": {30, []step{
			{0, "a b", "a b", false}, {1, "", "a b", true}, {2, "a b", "a b", false}, {20, "", "a b", true}, {40, ".", "a b", true}, {50, ".", "", false},
		}},
		"the only pod": {30, []step{{0, "a", "a", false}, {1, "", "a", true}, {31, "", "", false}}},
		"pods that come are believed at once": {30, []step{
			{0, "a b", "a b", false}, {1, "c d", "c d a b", true}, {2, "c d e", "c d e a b", true}, {31, ".", "c d e", false},
		}},
		"what came meanwhile does not vanish at once either": {30, []step{
			{0, "a b", "a b", false}, {1, "c d e f", "c d e f a b", true}, {2, "a b", "a b c d e f", true}, {31, ".", "a b", false},
		}},
		"pods that move are believed": {30, []step{
			{0, "a b c", "a b c", false}, {1, "a@9", "a@9 b c", true},
		}},
		"an address that is another pod's": {30, []step{
			{0, "a@1 b@2 c@3", "a@1 b@2 c@3", false}, {1, "d@1", "d@1 b@2 c@3", true},
		}},
		"new names are no loss": {30, []step{
			{0, "a@1 b@2", "a@1 b@2", false}, {1, "c@1 d@2", "c@1 d@2", false},
		}},
		"a failure confirms nothing": {30, []step{
			{0, "a b", "a b", false}, {1, "", "a b", true}, {20, "-", "a b", true}, {40, ".", "a b", true}, {50, "", "", false},
		}},
		"a failure alone changes nothing": {30, []step{
			{0, "a b", "a b", false}, {1, "-", "a b", false}, {99, ".", "a b", false},
		}},
		"an operator believes it": {30, []step{
			{0, "a b c", "a b c", false}, {1, "a", "a b c", true}, {2, "!", "a", false}, {3, "a", "a", false},
		}},
		"no hold": {0, []step{{0, "a b c", "a b c", false}, {1, "", "", false}}},
	} {
		t.Run(name, func(t *testing.T) {
			state := hold{period: time.Duration(c.hold) * time.Second}
			for _, s := range c.steps {
				now := t0.Add(time.Duration(s.at) * time.Second)
				switch s.event {
				case "-":
					state = state.failed()
				case ".":
					state = state.at(now)
				case "!":
					state = state.accept()
				default:
					state = state.list(now, podList(s.event))
				}
				if got, want := fmt.Sprint(state.served), fmt.Sprint(podList(s.served)); got != want || state.held() != s.held {
					t.Errorf("at %d, after %q: held %v, %v, want %v, %v", s.at, s.event, state.held(), got, s.held, want)
				}
			}
		})
	}
}

func TestALossSaysHowMuch(t *testing.T) {
	c := hold{period: time.Minute}.list(t0, podList("a b c d")).list(t0, podList("a x"))
	if l := c.loss(); l == nil || *l != (Loss{Kept: 3, Of: 4, Listed: 2, Since: t0, Until: t0.Add(time.Minute)}) {
		t.Errorf("%+v", l)
	}
	if c.accept().loss() != nil {
		t.Error("nothing is held, and yet there is a loss")
	}
}

// A list that the server refuses is not served, but its clock runs: the loss it
// told of is believed in time.
func TestARefusedListKeepsItsClock(t *testing.T) {
	before := hold{period: time.Minute}.list(t0, podList("a b"))
	c := before.list(t0, podList("c")).refused(before)
	if fmt.Sprint(c.served) != fmt.Sprint(podList("a b")) || !c.held() {
		t.Errorf("%+v", c)
	}
	if c = c.at(t0.Add(time.Minute)); c.held() || fmt.Sprint(c.served) != fmt.Sprint(podList("c")) {
		t.Errorf("in time: %+v", c)
	}
}
