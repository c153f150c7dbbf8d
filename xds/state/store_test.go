package state

import (
	"errors"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// t0 is when nothing depends on the time.
var t0 = time.Unix(1000, 0)

func deskWith(pods ...statefulroute.Pod) *Desk {
	d := NewDesk()
	d.setStatic(pods...)
	return d
}

// setStatic has the one service, chat, with a static list of pods.
func (d *Desk) setStatic(pods ...statefulroute.Pod) {
	svc := testService("chat")
	svc.Pods = staticSource(pods...)
	d.SetConfig(t0, testGateway(), []statefulroute.Service{svc})
}

func staticSource(pods ...statefulroute.Pod) statefulroute.PodSource {
	return statefulroute.PodSource{Static: append([]statefulroute.Pod{}, pods...)}
}

func TestWhoseWordCounts(t *testing.T) {
	d := deskWith(testPod("a", 1))
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"drain", func() error { return d.SetOverride("chat", "a", statefulroute.Draining) }, "chat: a@1(draining)"},
		{"checks fail", func() error { return d.SetHealth("chat", "a", HealthVerdict{Healthy: false}) }, "chat: a@1(unhealthy)"},
		{"maintenance", func() error { return d.SetOverride("chat", "a", statefulroute.Maintenance) }, "chat: a@1(maintenance)"},
		{"ready while failing", func() error { return d.SetOverride("chat", "a", statefulroute.Ready) }, "chat: a@1(unhealthy)"},
		{"checks pass", func() error { return d.SetHealth("chat", "a", HealthVerdict{Healthy: true}) }, "chat: a@1"},
	}
	for _, s := range steps {
		if err := s.do(); err != nil || show(d.Model()) != s.want {
			t.Fatalf("%s: got %v, %s, want %s", s.name, err, show(d.Model()), s.want)
		}
	}
	if err := d.SetOverride("chat", "a", statefulroute.Unhealthy); err == nil {
		t.Error("an operator ordered a pod to be unhealthy")
	}
	for _, err := range []error{d.SetHealth("chat", "b", HealthVerdict{Healthy: true}), d.SetWeight("rooms", "a", 1), d.SetPods(t0, "rooms", staticSource(), nil)} {
		if !errors.Is(err, ErrUnknownPod) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAPodThatComesBackStartsAfresh(t *testing.T) {
	d := deskWith(testPod("a", 1), testPod("b", 2))
	if err := errors.Join(d.SetOverride("chat", "b", statefulroute.Draining), d.SetWeight("chat", "a", 70)); err != nil {
		t.Fatal(err)
	}
	// A new address under the same name is the same pod.
	if d.setStatic(testPod("b", 9)); show(d.Model()) != "chat: b@9(draining)" {
		t.Fatalf("got %s", show(d.Model()))
	}
	d.setStatic(testPod("a", 1))
	if m := d.Model().Services[0].Members[0]; m.EffectiveWeight != 1 {
		t.Errorf("a pod that was gone kept weight %d", m.EffectiveWeight)
	}
}

func TestAServiceThatIsGoneIsForgotten(t *testing.T) {
	d := deskWith(testPod("a", 1))
	if err := d.SetOverride("chat", "a", statefulroute.Draining); err != nil {
		t.Fatal(err)
	}
	d.SetConfig(t0, testGateway(), []statefulroute.Service{testService("rooms")})
	if _, there := d.services["chat"]; there || len(d.services) != 1 || len(d.Orders()) != 0 {
		t.Errorf("still there: %v, orders %v", d.services, d.Orders())
	}
}
