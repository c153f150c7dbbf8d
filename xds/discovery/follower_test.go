package discovery

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
)

// scripted is a source that sends what it is given, once, with pauses, and nothing more.
type scripted struct {
	says  []Update
	pause time.Duration
}

func (*scripted) String() string                              { return "scripted" }
func (*scripted) Written() bool                               { return false }
func (*scripted) Check(*strictyaml.Document, strictyaml.Path) {}
func (s *scripted) NewDiscoverer(Options) Discoverer          { return s }
func (s *scripted) Run(ctx context.Context, updates chan<- Update) {
	for _, u := range s.says {
		Send(ctx, updates, u)
		time.Sleep(s.pause)
	}
	<-ctx.Done()
}

func fromScript(says ...Update) statefulroute.Service {
	svc := testService("chat")
	svc.Pods = statefulroute.PodSource{Discovery: &scripted{says: says}, Hold: time.Minute}
	return svc
}

// kept is a keeper of one service's pods.
type kept struct {
	mu   sync.Mutex
	last KeptPods
}

func (k *kept) KeepPods(_ string, pods KeptPods) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = pods
}
func (*kept) ForgetPods(func(string) bool) {}

// A watched list is true until there is another; any other was true when it was said.
func TestAWatchedListIsConfirmedByItsSilence(t *testing.T) {
	for _, watched := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			m, b := newManager(t, nil)
			k := &kept{}
			m.Keeper = k
			began := time.Now()
			b.mustChange(t, m, fromScript(Update{Pods: podList("a b"), Watched: watched}))
			time.Sleep(time.Hour)
			k.mu.Lock()
			last := k.last
			k.mu.Unlock()
			age := time.Since(last.Confirmed)
			if names(last.Pods) != "a b" || watched && age > time.Minute || !watched && !last.Confirmed.Equal(began) {
				t.Errorf("watched %v: confirmed %v ago, %v", watched, age, last.Pods)
			}
			m.Stop()
		})
	}
}

// Each pod that partial lists lack goes in its time.
func TestPodsThatPartialListsLackGoOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b := newManager(t, nil)
		svc := testService("chat")
		says := []Update{{Pods: podList("a b c d"), Partial: true}, {Pods: podList("a b c"), Partial: true}}
		says = append(says, slices.Repeat([]Update{{Pods: podList("a b"), Partial: true}}, 8)...)
		svc.Pods = statefulroute.PodSource{Hold: time.Minute, Discovery: &scripted{pause: 10 * time.Second, says: says}}
		b.mustChange(t, m, svc) // and 10 s later it lacks d, 20 s later c
		for _, want := range []string{"a b c d", "a b c", "a b"} {
			if want == "a b c d" {
				time.Sleep(65 * time.Second)
			} else {
				time.Sleep(10 * time.Second)
			}
			if got := b.of("chat"); got != want {
				t.Errorf("the pods are %q, want %q", got, want)
			}
		}
		m.Stop()
	})
}

// A source that says nothing at all does not hold up a reload for ever, and is heard
// when it does.
func TestASourceThatSaysNothingIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b := newManager(t, nil)
		began := time.Now()
		b.mustChange(t, m, fromScript())
		if s := m.Status("chat"); time.Since(began) != patience || s.State != "missing" || !strings.Contains(s.Error, "no answer") {
			t.Errorf("after %v: %+v", time.Since(began), s)
		}
		m.Stop()
	})
}

// What the source said first is in force with the change; what it says next is set.
func TestUpdatesComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b := newManager(t, nil)
		b.mustChange(t, m, fromScript(Update{Pods: podList("a")}, Update{Pods: podList("a b")}, Update{Pods: podList("a b c")}))
		synctest.Wait()
		if got := b.of("chat"); got != "a b c" {
			t.Errorf("the pods are %q", got)
		}
		m.Stop()
	})
}

// lingering is a source that needs a second for its end.
type lingering struct {
	scripted

	ended atomic.Bool
}

func (l *lingering) NewDiscoverer(Options) Discoverer { return l }
func (l *lingering) Run(ctx context.Context, updates chan<- Update) {
	l.scripted.Run(ctx, updates)
	time.Sleep(time.Second)
	l.ended.Store(true)
}

// A source that has ended has ended: its files and connections may be somebody else's
// from then on.
func TestTheEndOfASourceIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, b := newManager(t, nil)
		source := &lingering{scripted: scripted{says: []Update{{Pods: podList("a")}}}}
		svc := testService("chat")
		svc.Pods = statefulroute.PodSource{Discovery: source}
		b.mustChange(t, m, svc)
		if m.Stop(); !source.ended.Load() {
			t.Error("it still runs")
		}
	})
}
