package state

import (
	"errors"
	"slices"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/discovery"
)

func TestAnUnknownOverrideIsRefused(t *testing.T) {
	if err := NewStore().Restore(t0, []Override{{"chat", "a", "odd"}}); err == nil {
		t.Error("an unknown state was restored")
	}
}

// dnsStore is a store whose one service, chat, has its pods by DNS.
func dnsStore(t *testing.T) (st *Store, answer func(now time.Time, pods ...statefulroute.Pod)) {
	t.Helper()
	st = NewStore()
	svc := testService("chat")
	svc.Pods.Discovery = &discovery.DNS{Host: "chat.internal", Port: 80}
	st.SetConfig(t0, testGateway(), []statefulroute.Service{svc})
	return st, func(now time.Time, pods ...statefulroute.Pod) {
		t.Helper()
		if err := st.SetPods(now, "chat", svc.Pods, pods); err != nil {
			t.Fatal(err)
		}
	}
}

// A DNS answer may lack a pod that is there: the override on it stands when it is
// back, but not for ever.
func TestAnOrderOutlivesAnAnswerThatLacksItsPod(t *testing.T) {
	st, answer := dnsStore(t)
	a, b := testPod("a", 1), testPod("b", 2)
	answer(t0, a, b)
	if err := errors.Join(st.SetOverride("chat", "b", statefulroute.Draining), st.SetHealth("chat", "b", HealthVerdict{Healthy: false})); err != nil {
		t.Fatal(err)
	}
	answer(t0.Add(time.Hour), a)
	if got := st.Overrides(); !slices.Equal(got, []Override{{"chat", "b", "draining"}}) {
		t.Errorf("orders while the pod is away: %v", got)
	}
	answer(t0.Add(time.Hour+overrideTTL-time.Second), a, b)
	if got := show(st.Model()); got != "chat: a@1 b@2(draining)" {
		t.Errorf("the pod came back as %s", got)
	}
	answer(t0.Add(2*time.Hour), a)
	answer(t0.Add(2*time.Hour+overrideTTL), a)
	answer(t0.Add(2*time.Hour+overrideTTL), a, b)
	if got := show(st.Model()); got != "chat: a@1 b@2" || len(st.Overrides()) > 0 {
		t.Errorf("long after: %s, overrides %v", got, st.Overrides())
	}
}

// Answers that are like the one before are not heard of: a pod that was away for
// long is somebody else, though nothing was said in between.
func TestAnOrderEndsThoughNobodySaysThatItsPodIsStillAway(t *testing.T) {
	st, answer := dnsStore(t)
	a, b := testPod("a", 1), testPod("b", 2)
	answer(t0, a, b)
	if err := st.SetOverride("chat", "b", statefulroute.Draining); err != nil {
		t.Fatal(err)
	}
	answer(t0, a)
	answer(t0.Add(overrideTTL), a, b)
	if got := show(st.Model()); got != "chat: a@1 b@2" || len(st.Overrides()) > 0 {
		t.Errorf("%s, overrides %v", got, st.Overrides())
	}
}

// A kept override on a pod of a name that does not resolve at the start waits for
// the first answer.
func TestAKeptOrderWaitsForTheFirstAnswer(t *testing.T) {
	st, answer := dnsStore(t)
	kept := []Override{{"chat", "a", "maintenance"}, {"chat", "b", "draining"}}
	if err := st.Restore(t0, append(kept, Override{"gone", "c", "draining"})); err != nil {
		t.Fatal(err)
	}
	if got := st.Overrides(); !slices.Equal(got, kept) {
		t.Fatalf("before any answer: %v, want %v", got, kept)
	}
	later := t0.Add(24 * time.Hour)
	answer(later, testPod("a", 1))
	answer(later.Add(overrideTTL-1), testPod("a", 1), testPod("b", 2))
	if got := show(st.Model()); got != "chat: a@1(maintenance) b@2(draining)" {
		t.Errorf("after the first answers: %s", got)
	}
	if err := st.SetOverride("chat", "a", statefulroute.Ready); err != nil {
		t.Fatal(err)
	}
	if got := st.Overrides(); !slices.Equal(got, kept[1:]) {
		t.Errorf("after one was taken back: %v", got)
	}
}

// A list that somebody wrote is somebody's word: an override on a pod that it lacks
// is done with.
func TestAKeptOrderOnAPodOfAStaticListIsDropped(t *testing.T) {
	st := storeWith(testPod("a", 1))
	if err := st.Restore(t0, []Override{{"chat", "b", "draining"}}); err != nil || len(st.Overrides()) > 0 {
		t.Errorf("got %v, overrides %v", err, st.Overrides())
	}
}
