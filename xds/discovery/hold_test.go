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

// holdStep tells what is served after an event: an answer, "-" for a reading that
// failed, "." for time that passes, "!" for an operator's word.
type holdStep struct {
	at     int // seconds
	event  string
	served string
	held   bool
}

func play(t *testing.T, period time.Duration, steps []holdStep, list func(hold, time.Time, []statefulroute.Pod) hold) {
	t.Helper()
	state := hold{period: period}
	for _, s := range steps {
		now := t0.Add(time.Duration(s.at) * time.Second)
		switch s.event {
		case "-":
			state = state.failed()
		case ".":
			state = state.at(now)
		case "!":
			state = state.accept()
		default:
			state = list(state, now, podList(s.event))
		}
		if got, want := fmt.Sprint(state.served), fmt.Sprint(podList(s.served)); got != want || state.held() != s.held {
			t.Errorf("at %d, after %q: held %v, %v, want %v, %v", s.at, s.event, state.held(), got, s.held, want)
		}
	}
}

func TestHold(t *testing.T) {
	for name, c := range map[string]struct {
		hold  int
		steps []holdStep
	}{
		"nothing was there before": {30, []holdStep{{0, "", "", false}, {1, "a b", "a b", false}}},
		"half is no more than half": {30, []holdStep{
			{0, "a b c d", "a b c d", false}, {1, "a b", "a b", false}, {2, "a", "a", false},
		}},
		"all, and they come back": {30, []holdStep{
			{0, "a b c", "a b c", false}, {1, "", "a b c", true}, {5, "a b c", "a b c", false},
		}},
		"more than half, until it was said for hold": {30, []holdStep{
			{0, "a b c", "a b c", false}, {1, "a", "a b c", true}, {20, "a", "a b c", true}, {30, ".", "a b c", true}, {31, ".", "a", false},
		}},
		"another loss goes on with the clock": {30, []holdStep{
			{0, "a b c", "a b c", false}, {1, "", "a b c", true}, {20, "b", "b a c", true}, {31, ".", "b", false},
		}},
		"recovered in part, which is no loss": {30, []holdStep{
			{0, "a b c d", "a b c d", false}, {1, "a", "a b c d", true}, {2, "a b", "a b", false}, {40, ".", "a b", false},
		}},
		"a new loss has a new clock": {30, []holdStep{
			{0, "a b", "a b", false}, {1, "", "a b", true}, {2, "a b", "a b", false}, {20, "", "a b", true}, {40, ".", "a b", true}, {50, ".", "", false},
		}},
		"the only pod": {30, []holdStep{{0, "a", "a", false}, {1, "", "a", true}, {31, "", "", false}}},
		"pods that come are believed at once": {30, []holdStep{
			{0, "a b", "a b", false}, {1, "c d", "c d a b", true}, {2, "c d e", "c d e a b", true}, {31, ".", "c d e", false},
		}},
		"what came meanwhile does not vanish at once either": {30, []holdStep{
			{0, "a b", "a b", false}, {1, "c d e f", "c d e f a b", true}, {2, "a b", "a b c d e f", true}, {31, ".", "a b", false},
		}},
		"pods that move are believed": {30, []holdStep{
			{0, "a b c", "a b c", false}, {1, "a@9", "a@9 b c", true},
		}},
		"an address that is another pod's": {30, []holdStep{
			{0, "a@1 b@2 c@3", "a@1 b@2 c@3", false}, {1, "d@1", "d@1 b@2 c@3", true},
		}},
		"new names are no loss": {30, []holdStep{
			{0, "a@1 b@2", "a@1 b@2", false}, {1, "c@1 d@2", "c@1 d@2", false},
		}},
		"a failure confirms nothing": {30, []holdStep{
			{0, "a b", "a b", false}, {1, "", "a b", true}, {20, "-", "a b", true}, {40, ".", "a b", true}, {50, "", "", false},
		}},
		"a failure alone changes nothing": {30, []holdStep{
			{0, "a b", "a b", false}, {1, "-", "a b", false}, {99, ".", "a b", false},
		}},
		"an operator believes it": {30, []holdStep{
			{0, "a b c", "a b c", false}, {1, "a", "a b c", true}, {2, "!", "a", false}, {3, "a", "a", false},
		}},
		"no hold": {0, []holdStep{{0, "a b c", "a b c", false}, {1, "", "", false}}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, time.Duration(c.hold)*time.Second, c.steps, hold.list)
		})
	}
}

func TestHoldOfPartialLists(t *testing.T) {
	for name, c := range map[string]struct {
		hold  int
		steps []holdStep
	}{
		"one pod is not there once": {30, []holdStep{
			{0, "a b c", "a b c", false}, {5, "a b", "a b c", true}, {10, "a b c", "a b c", false}, {40, ".", "a b c", false},
		}},
		"it is gone": {30, []holdStep{
			{0, "a b c", "a b c", false}, {5, "a b", "a b c", true}, {30, "a b", "a b c", true}, {34, "a b", "a b c", true}, {35, "a b", "a b", false},
		}},
		"one answer proves nothing, however old it is": {30, []holdStep{
			{0, "a b c", "a b c", false}, {5, "a b", "a b c", true}, {65, ".", "a b c", true}, {66, "b c", "a b c", true},
		}},
		"the answer after the period lacks it, too": {30, []holdStep{
			{0, "a b c", "a b c", false}, {5, "a b", "a b c", true}, {65, "a b", "a b", false},
		}},
		"each has a clock of its own": {30, []holdStep{
			{0, "a b c", "a b c", false}, {5, "a b", "a b c", true}, {20, "a", "a b c", true}, {35, "a", "a b", true}, {49, "a", "a b", true}, {50, "a", "a", false},
		}},
		"listed again, a pod has a new clock": {30, []holdStep{
			{0, "a b", "a b", false}, {5, "a", "a b", true}, {30, "a b", "a b", false}, {32, "a", "a b", true}, {61, "a", "a b", true}, {62, "a", "a", false},
		}},
		"parts of the pods in turn": {30, []holdStep{
			{0, "a b", "a b", false}, {10, "c d", "a b c d", true}, {20, "a b", "a b c d", true}, {40, "c d", "a b c d", true}, {60, "a b", "a b c d", true}, {90, "a b", "a b", false},
		}},
		"more than half": {30, []holdStep{
			{0, "a b c", "a b c", false}, {1, "a", "a b c", true}, {31, "a", "a", false},
		}},
		"a failure confirms nothing": {30, []holdStep{
			{0, "a b", "a b", false}, {1, "a", "a b", true}, {20, "-", "a b", true}, {40, ".", "a b", true}, {50, "a", "a", false},
		}},
		"an operator believes it": {30, []holdStep{
			{0, "a b c", "a b c", false}, {1, "a b", "a b c", true}, {2, "!", "a b", false}, {3, "a b", "a b", false},
		}},
		"no hold": {0, []holdStep{{0, "a b c", "a b c", false}, {1, "a", "a", false}}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, time.Duration(c.hold)*time.Second, c.steps, hold.part)
		})
	}
}

// A partial list that the server refuses leaves what was served, and the clocks.
func TestARefusedPartialListKeepsItsClocks(t *testing.T) {
	before := hold{period: time.Minute}.part(t0, podList("a b"))
	h := before.part(t0, podList("c d e")).refused(before).part(t0.Add(time.Minute), podList("c d e"))
	if fmt.Sprint(h.served) != fmt.Sprint(podList("c d e")) || h.held() {
		t.Errorf("in time: %+v", h)
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
