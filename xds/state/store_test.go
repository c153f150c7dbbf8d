package state

import (
	"errors"
	"reflect"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// t0 is when nothing depends on the time.
var t0 = time.Unix(1000, 0)

func storeWith(pods ...statefulroute.Pod) *Store {
	st := NewStore()
	st.setStatic(pods...)
	return st
}

// setStatic has the one service, chat, with a static list of pods.
func (st *Store) setStatic(pods ...statefulroute.Pod) {
	svc := testService("chat")
	svc.Pods = staticSource(pods...)
	st.SetConfig(t0, testGateway(), []statefulroute.Service{svc})
}

func staticSource(pods ...statefulroute.Pod) statefulroute.PodSource {
	return statefulroute.PodSource{Static: append([]statefulroute.Pod{}, pods...)}
}

func TestWhoseWordCounts(t *testing.T) {
	st := storeWith(testPod("a", 1))
	steps := []struct {
		name string
		do   func() error
		want string
	}{
		{"drain", func() error { return st.SetOverride("chat", "a", statefulroute.Draining) }, "chat: a@1(draining)"},
		{"checks fail", func() error { return st.SetHealth("chat", "a", HealthVerdict{Healthy: false}) }, "chat: a@1(unhealthy)"},
		{"maintenance", func() error { return st.SetOverride("chat", "a", statefulroute.Maintenance) }, "chat: a@1(maintenance)"},
		{"ready while failing", func() error { return st.SetOverride("chat", "a", statefulroute.Ready) }, "chat: a@1(unhealthy)"},
		{"checks pass", func() error { return st.SetHealth("chat", "a", HealthVerdict{Healthy: true}) }, "chat: a@1"},
	}
	for _, s := range steps {
		if err := s.do(); err != nil || show(st.Model()) != s.want {
			t.Fatalf("%s: got %v, %s, want %s", s.name, err, show(st.Model()), s.want)
		}
	}
	if err := st.SetOverride("chat", "a", statefulroute.Unhealthy); err == nil {
		t.Error("an operator declared a pod to be unhealthy")
	}
	for _, err := range []error{st.SetHealth("chat", "b", HealthVerdict{Healthy: true}), st.SetWeight("rooms", "a", 1), st.SetPods(t0, "rooms", staticSource(), nil)} {
		if !errors.Is(err, ErrUnknownPod) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAPodThatComesBackStartsAfresh(t *testing.T) {
	st := storeWith(testPod("a", 1), testPod("b", 2))
	if err := errors.Join(st.SetOverride("chat", "b", statefulroute.Draining), st.SetWeight("chat", "a", 70)); err != nil {
		t.Fatal(err)
	}
	// A new address under the same name is the same pod.
	if st.setStatic(testPod("b", 9)); show(st.Model()) != "chat: b@9(draining)" {
		t.Fatalf("got %s", show(st.Model()))
	}
	st.setStatic(testPod("a", 1))
	if m := st.Model().Services[0].Members[0]; m.EffectiveWeight != 1 {
		t.Errorf("a pod that was gone kept weight %d", m.EffectiveWeight)
	}
}

func TestAServiceThatIsGoneIsForgotten(t *testing.T) {
	st := storeWith(testPod("a", 1))
	if err := errors.Join(st.SetOverride("chat", "a", statefulroute.Draining), st.SetWeight("chat", "a", 70)); err != nil {
		t.Fatal(err)
	}
	st.SetConfig(t0, testGateway(), []statefulroute.Service{testService("rooms")})
	if got := show(st.Model()); got != "rooms:" || len(st.Overrides()) > 0 {
		t.Errorf("got %s, overrides %v", got, st.Overrides())
	}
	st.setStatic(testPod("a", 1))
	if m := st.Model().Services[0].Members[0]; m.State != statefulroute.Ready || m.EffectiveWeight != 1 {
		t.Errorf("a service of that name begins with %+v", m)
	}
}

// An edit that fails, or that is refused, leaves everything as it was, what it
// changed of other services included.
func TestAnEditThatFailsIsTakenBack(t *testing.T) {
	st, failed := storeWith(testPod("a", 1)), errors.New("refused")
	before := st.Model()
	edit := func(st *Store) error {
		st.SetConfig(t0, Gateway{}, []statefulroute.Service{testService("rooms"), testService("chat")})
		return errors.Join(st.SetPods(t0, "rooms", statefulroute.PodSource{}, []statefulroute.Pod{testPod("b", 2)}), st.SetPods(t0, "chat", statefulroute.PodSource{}, nil))
	}
	ways := map[string]func() (Change, error){
		"the change fails": func() (Change, error) {
			return st.Edit(func(st *Store) error { return errors.Join(edit(st), failed) }, func(Model, Change) error { return nil })
		},
		"it is refused": func() (Change, error) {
			return st.Edit(edit, func(m Model, c Change) error {
				if show(m) != "rooms: b@2; chat:" || len(c.Services) != 2 {
					t.Errorf("to be checked: %s, %d changed", show(m), len(c.Services))
				}
				return failed
			})
		},
	}
	for name, do := range ways {
		if _, err := do(); !errors.Is(err, failed) {
			t.Errorf("%s: got %v", name, err)
		}
		if !reflect.DeepEqual(st.Model(), before) || st.Model().Services[0] != before.Services[0] {
			t.Errorf("%s: left %+v", name, st.Model())
		}
	}
}
