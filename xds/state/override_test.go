package state

import (
	"errors"
	"slices"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

func TestAnUnknownOrderIsNotObeyed(t *testing.T) {
	if err := NewDesk().Obey(t0, []Order{{"chat", "a", "odd"}}); err == nil {
		t.Error("an unknown state was obeyed")
	}
}

// dnsDesk is a desk whose one service, chat, has its pods by DNS.
func dnsDesk(t *testing.T) (d *Desk, answer func(now time.Time, pods ...statefulroute.Pod)) {
	t.Helper()
	d = NewDesk()
	svc := testService("chat")
	svc.Pods.DNS = &statefulroute.DNSSource{Host: "chat.internal", Port: 80}
	d.SetConfig(t0, testGateway(), []statefulroute.Service{svc})
	return d, func(now time.Time, pods ...statefulroute.Pod) {
		t.Helper()
		if err := d.SetPods(now, "chat", svc.Pods, pods); err != nil {
			t.Fatal(err)
		}
	}
}

// A DNS answer may lack a pod that is there: the order on it stands when it is
// back, but not for ever.
func TestAnOrderOutlivesAnAnswerThatLacksItsPod(t *testing.T) {
	d, answer := dnsDesk(t)
	a, b := testPod("a", 1), testPod("b", 2)
	answer(t0, a, b)
	if err := errors.Join(d.SetOverride("chat", "b", statefulroute.Draining), d.SetHealth("chat", "b", HealthVerdict{Healthy: false})); err != nil {
		t.Fatal(err)
	}
	answer(t0.Add(time.Hour), a)
	if got := d.Orders(); !slices.Equal(got, []Order{{"chat", "b", "draining"}}) {
		t.Errorf("orders while the pod is away: %v", got)
	}
	answer(t0.Add(time.Hour+orderKeep-time.Second), a, b)
	if got := show(d.Model()); got != "chat: a@1 b@2(draining)" {
		t.Errorf("the pod came back as %s", got)
	}
	answer(t0.Add(2*time.Hour), a)
	answer(t0.Add(2*time.Hour+orderKeep), a)
	answer(t0.Add(2*time.Hour+orderKeep), a, b)
	if got := show(d.Model()); got != "chat: a@1 b@2" || len(d.Orders()) > 0 {
		t.Errorf("long after: %s, orders %v", got, d.Orders())
	}
}

// Answers that are like the one before are not heard of: a pod that was away for
// long is somebody else, though nothing was said in between.
func TestAnOrderEndsThoughNobodySaysThatItsPodIsStillAway(t *testing.T) {
	d, answer := dnsDesk(t)
	a, b := testPod("a", 1), testPod("b", 2)
	answer(t0, a, b)
	if err := d.SetOverride("chat", "b", statefulroute.Draining); err != nil {
		t.Fatal(err)
	}
	answer(t0, a)
	answer(t0.Add(orderKeep), a, b)
	if got := show(d.Model()); got != "chat: a@1 b@2" || len(d.Orders()) > 0 {
		t.Errorf("%s, orders %v", got, d.Orders())
	}
}

// A kept order on a pod of a name that does not resolve at the start waits for
// the first answer.
func TestAKeptOrderWaitsForTheFirstAnswer(t *testing.T) {
	d, answer := dnsDesk(t)
	kept := []Order{{"chat", "a", "maintenance"}, {"chat", "b", "draining"}}
	if err := d.Obey(t0, append(kept, Order{"gone", "c", "draining"})); err != nil {
		t.Fatal(err)
	}
	if got := d.Orders(); !slices.Equal(got, kept) {
		t.Fatalf("before any answer: %v, want %v", got, kept)
	}
	later := t0.Add(24 * time.Hour)
	answer(later, testPod("a", 1))
	answer(later.Add(orderKeep-1), testPod("a", 1), testPod("b", 2))
	if got := show(d.Model()); got != "chat: a@1(maintenance) b@2(draining)" {
		t.Errorf("after the first answers: %s", got)
	}
	if err := d.SetOverride("chat", "a", statefulroute.Ready); err != nil {
		t.Fatal(err)
	}
	if got := d.Orders(); !slices.Equal(got, kept[1:]) {
		t.Errorf("after one was taken back: %v", got)
	}
}

// A list that somebody wrote is somebody's word: an order on a pod that it lacks
// is done with.
func TestAKeptOrderOnAPodOfAStaticListIsDropped(t *testing.T) {
	d := deskWith(testPod("a", 1))
	if err := d.Obey(t0, []Order{{"chat", "b", "draining"}}); err != nil || len(d.Orders()) > 0 {
		t.Errorf("got %v, orders %v", err, d.Orders())
	}
}
