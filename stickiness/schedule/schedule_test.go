package schedule

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

func load() Load { return Load{Sessions: 200, Rate: 300, Duration: 6 * time.Second} }

func TestTheSameSeedIsTheSamePlay(t *testing.T) {
	for _, s := range All() {
		if !reflect.DeepEqual(s.Plan(7, time.Minute), s.Plan(7, time.Minute)) || !reflect.DeepEqual(s.Visits(7, load()), s.Visits(7, load())) {
			t.Errorf("%s: two plays of one seed", s.Name)
		}
		if reflect.DeepEqual(s.Visits(7, load()), s.Visits(8, load())) {
			t.Errorf("%s: one play of two seeds", s.Name)
		}
	}
}

func TestSchedulesAreNamedOnceAndTheirStepsInOrder(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		if seen[s.Name] || s.Description == "" {
			t.Errorf("%s: there twice, or without a description", s.Name)
		}
		seen[s.Name] = true
		for seed := range uint64(20) {
			last := time.Duration(0)
			for _, p := range s.Plan(seed, time.Minute) {
				if p.At <= last || p.At >= time.Minute {
					t.Errorf("%s, seed %d: %s at %s, after %s", s.Name, seed, p.Do, p.At, last)
				}
				last = p.At
			}
		}
	}
}

func TestTheRateIsKept(t *testing.T) {
	for _, s := range All() {
		n := 0
		for _, session := range s.Visits(1, load()) {
			if !strings.HasPrefix(session.Name, "flood") {
				n += len(session.Visits)
			}
		}
		if want := load().Rate * load().Duration.Seconds(); float64(n) < want*0.7 || float64(n) > want {
			t.Errorf("%s: %d visits, want a few less than %.0f", s.Name, n, want)
		}
	}
}

func TestIDs(t *testing.T) {
	for _, kind := range []IDs{UUIDs, SharedPrefix, AllLengths} {
		s := Schedule{Clients: Clients{IDs: kind}}
		seen, lengths := map[string]bool{}, map[int]bool{}
		for _, session := range s.Visits(1, Load{Sessions: 600, Rate: 1, Duration: time.Second}) {
			if seen[session.ID] || session.ID == "" {
				t.Errorf("%s: %q twice", kind, session.ID)
			}
			seen[session.ID], lengths[len(session.ID)] = true, true
			if kind == SharedPrefix && (!strings.HasPrefix(session.ID, strings.Repeat("a", 32)) || len(session.ID) < 33) {
				t.Errorf("%q shares no prefix", session.ID)
			}
		}
		if kind == AllLengths && (!lengths[1] || !lengths[8000]) {
			t.Errorf("lengths %v", lengths)
		}
		if kind == UUIDs && !lengths[36] {
			t.Errorf("lengths %v", lengths)
		}
	}
}

func TestNotFor(t *testing.T) {
	a := gateway.Adapter{Key: gateway.Key{Kind: gateway.IssuedCookie, Name: "c"}, Without: map[gateway.Feature]string{gateway.Drain: "has none"}}
	for _, c := range []struct {
		s    Schedule
		want string
	}{
		{Schedule{}, ""},
		{Schedule{Cookie: true}, ""},
		{Schedule{Needs: []gateway.Feature{gateway.Scaling, gateway.Drain}}, "has none"},
		{Schedule{Needs: []gateway.Feature{gateway.ClientIDs}}, "its clients do not choose their ids"},
	} {
		if got := c.s.NotFor(a); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	a.Key.Kind = gateway.Header
	if (Schedule{Cookie: true}).NotFor(a) == "" {
		t.Error("a header is no cookie")
	}
}

// What a seed makes of the pods differs, and a name is never two pods.
func TestSeedsChooseThePods(t *testing.T) {
	chosen := map[string]bool{}
	for seed := range uint64(50) {
		for _, s := range All() {
			if s.Name == "pod-kill" {
				chosen[s.Plan(seed, time.Minute)[0].Pod] = true
			}
		}
	}
	if len(chosen) != Pods {
		t.Errorf("killed were %v", chosen)
	}
}
