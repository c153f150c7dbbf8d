package discovery

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
)

func names(pods []statefulroute.Pod) string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

// board is where a test's sources write their lists.
type board struct {
	mu     sync.Mutex
	lists  map[string]string
	sets   int
	refuse error
}

func (b *board) set(_ context.Context, service string, _ statefulroute.PodSource, pods []statefulroute.Pod) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sets++
	if b.refuse == nil {
		b.lists[service] = names(pods)
	}
	return b.refuse
}

func (b *board) of(service string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lists[service]
}

// newManager returns sources with a board; they end with the test.
func newManager(t *testing.T, resolver Resolver) (*Manager, *board) {
	b := &board{lists: map[string]string{}}
	s := &Manager{Logger: zap.NewNop(), Set: b.set, Resolver: resolver}
	t.Cleanup(s.Stop)
	return s, b
}

// change brings services into force.
func (b *board) change(t *testing.T, s *Manager, services ...statefulroute.Service) error {
	t.Helper()
	return s.Change(context.WithoutCancel(t.Context()), services, func(pods map[string][]statefulroute.Pod) error {
		for service, list := range pods {
			if err := b.set(t.Context(), service, statefulroute.PodSource{}, list); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *board) mustChange(t *testing.T, s *Manager, services ...statefulroute.Service) {
	t.Helper()
	if err := b.change(t, s, services...); err != nil {
		t.Fatal(err)
	}
}

func pointer[T any](v T) *T { return &v }

func fromFile(name, file string) statefulroute.Service {
	svc := testService(name)
	svc.Pods = statefulroute.PodSource{Discovery: pointer(File(file)), Hold: 30 * time.Second}
	return svc
}

func fromDNS(name, host string) statefulroute.Service {
	svc := testService(name)
	svc.Pods = statefulroute.PodSource{Discovery: &DNS{Host: host, Port: 80}, Hold: 30 * time.Second}
	return svc
}

func fromList(name string, pods ...statefulroute.Pod) statefulroute.Service {
	svc := testService(name)
	svc.Pods = statefulroute.PodSource{Static: pods}
	return svc
}

func (s *Manager) state(service string) string {
	if status := s.Status(service); status != nil {
		return status.State
	}
	return ""
}

func TestAnOperatorBelievesTheLoss(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pods.yaml")
	replace(t, file, podsFile("a b c"))
	s, b := newManager(t, nil)
	b.mustChange(t, s, fromFile("chat", file), fromList("rooms", testPod("x", 1)))
	for _, service := range []string{"chat", "rooms", "nobody"} {
		if err := s.Accept(t.Context(), service); !errors.Is(err, ErrNothingHeld) {
			t.Errorf("%s: %v", service, err)
		}
	}
	replace(t, file, "[]\n")
	await(t, "held", func() bool { return s.state("chat") == "held" })
	if err := s.Accept(t.Context(), "chat"); err != nil {
		t.Fatal(err)
	}
	if b.of("chat") != "" || s.state("chat") != "good" {
		t.Errorf("after it: %q, %s", b.of("chat"), s.state("chat"))
	}
}

func TestALossIsBelievedAfterTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &answers{}
		s, b := newManager(t, dns)
		dns.say("1 2 3", nil)
		b.mustChange(t, s, fromDNS("chat", "x"))
		dns.say("1", nil)
		time.Sleep(29 * time.Second)
		if got := len(strings.Fields(b.of("chat"))); got != 3 || s.state("chat") != "held" {
			t.Errorf("during the hold: %d pods, %s", got, s.state("chat"))
		}
		if states, _ := s.Summary(); states["held"] != 1 {
			t.Errorf("in sum: %v", states)
		}
		time.Sleep(7 * time.Second)
		if got := b.of("chat"); got != "10.0.0.1:80" || s.state("chat") != "good" {
			t.Errorf("after it: %q, %s", got, s.state("chat"))
		}
		s.Stop()
	})
}

// What a refused list lacks is not lost: it is served when it can be.
func TestAListThatTheServerRefusesIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &answers{}
		s, b := newManager(t, dns)
		dns.say("1 2", nil)
		b.mustChange(t, s, fromDNS("chat", "x"))
		b.mu.Lock()
		b.refuse = errors.New("the weights add up")
		b.mu.Unlock()
		dns.say("1 2 3", nil)
		time.Sleep(6 * time.Second)
		if status := s.Status("chat"); status.State != "stale" || !strings.Contains(status.Error, "add up") {
			t.Errorf("status: %+v", status)
		}
		b.mu.Lock()
		b.refuse = nil
		b.mu.Unlock()
		time.Sleep(6 * time.Second)
		if got := len(strings.Fields(b.of("chat"))); got != 3 || s.state("chat") != "good" {
			t.Errorf("later: %d pods, %s", got, s.state("chat"))
		}
		s.Stop()
	})
}

// One service's file is in a folder that is gone: the others are followed.
func TestOneBrokenSourceDoesNotEndTheOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "pods.yaml")
	broken, good := fromFile("broken", filepath.Join(dir, "gone", "pods.yaml")), fromFile("good", file)
	s, b := newManager(t, nil)
	s.Kept = map[string]KeptPods{"broken": {SourceName(broken.Pods), time.Now().Add(-time.Hour), podList("x y")}}
	replace(t, file, podsFile("a"))
	b.mustChange(t, s, broken, good)
	if status := s.Status("broken"); b.of("broken") != "x y" || status.State != "stale" || !status.Restored || status.Age < 3600 {
		t.Errorf("broken: %s %+v", b.of("broken"), status)
	}
	if _, age := s.Summary(); age < time.Hour {
		t.Errorf("age %v", age)
	}
	for _, pods := range []string{"a b", "a b c"} {
		replace(t, file, podsFile(pods))
		await(t, pods, func() bool { return b.of("good") == pods })
	}
}

// A source that was being read when another took its place says nothing more.
func TestALateAnswerOfAnOldSourceIsNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := slowResolver{make(chan struct{}), make(chan struct{})}
		s, b := newManager(t, slow)
		go func() { <-slow.asked; slow.answer <- struct{}{} }()
		b.mustChange(t, s, fromDNS("chat", "x"))
		<-slow.asked // for the second time
		changed := make(chan struct{})
		go func() {
			defer close(changed)
			b.mustChange(t, s, fromList("chat", testPod("a", 1)))
			_ = b.set(t.Context(), "chat", statefulroute.PodSource{}, []statefulroute.Pod{testPod("a", 1)}) // as the pod state store does for a static list
		}()
		synctest.Wait()
		slow.answer <- struct{}{}
		<-changed
		synctest.Wait()
		if got := b.of("chat"); got != "a" {
			t.Errorf("the pods are %s", got)
		}
		if s.Status("chat") != nil {
			t.Error("the old source still has a state")
		}
	})
}

// The pods change only when what the old source is saying has been heard to its
// end, or it would come after.
func TestAChangeWaitsForWhatTheOldSourceSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &answers{}
		s, b := newManager(t, dns)
		saying, heard := make(chan struct{}), make(chan struct{})
		s.Set = func(ctx context.Context, service string, from statefulroute.PodSource, pods []statefulroute.Pod) error {
			close(saying)
			<-heard
			return b.set(ctx, service, from, pods)
		}
		dns.say("1", nil)
		b.mustChange(t, s, fromDNS("chat", "x"))
		dns.say("1 2", nil)
		<-saying
		changed := make(chan struct{})
		go func() {
			defer close(changed)
			if err := s.Change(context.WithoutCancel(t.Context()), []statefulroute.Service{fromList("chat")}, func(map[string][]statefulroute.Pod) error {
				select {
				case <-heard:
				default:
					t.Error("the pods changed before the old source had ended")
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		close(heard)
		<-changed
	})
}

// A change that the server refuses leaves the sources of before at work.
func TestARefusedChangeLeavesTheSourcesOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &answers{}
		s, b := newManager(t, dns)
		dns.say("1", nil)
		b.mustChange(t, s, fromDNS("chat", "x"))
		refusal := errors.New("no")
		if err := s.Change(t.Context(), []statefulroute.Service{fromList("chat")}, func(map[string][]statefulroute.Pod) error { return refusal }); !errors.Is(err, refusal) {
			t.Errorf("got %v", err)
		}
		dns.say("1 2", nil)
		time.Sleep(6 * time.Second)
		if got := b.of("chat"); got != "10.0.0.1:80 10.0.0.2:80" {
			t.Errorf("the pods are %s", got)
		}
		s.Stop()
	})
}

// At a reload a service keeps what it has while its new source cannot be read,
// and the new source's first answer is an operator's word: it is not held.
func TestANewSourceThatCannotBeRead(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pods.yaml")
	s, b := newManager(t, nil)
	b.mustChange(t, s, fromList("chat", testPod("a", 1), testPod("b", 2), testPod("c", 3)))
	b.mustChange(t, s, fromFile("chat", file))
	if got := b.of("chat"); got != "a b c" || s.state("chat") != "stale" {
		t.Errorf("meanwhile: %s, %s", got, s.state("chat"))
	}
	replace(t, file, podsFile("x"))
	await(t, "the new list", func() bool { return b.of("chat") == "x" && s.state("chat") == "good" })
}

// A hold that is configured anew does not make the source forget what it lost.
func TestTheHoldOutlivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &answers{}
		s, b := newManager(t, dns)
		chat := fromDNS("chat", "x")
		dns.say("1 2 3", nil)
		b.mustChange(t, s, chat)
		dns.say("1", nil)
		time.Sleep(10 * time.Second)
		chat.Pods.Hold = time.Minute
		b.mustChange(t, s, chat)
		time.Sleep(45 * time.Second)
		if got := len(strings.Fields(b.of("chat"))); got != 3 {
			t.Errorf("%d pods within the hold", got)
		}
		chat.Pods.Hold = 0
		b.mustChange(t, s, chat)
		time.Sleep(6 * time.Second)
		if got := len(strings.Fields(b.of("chat"))); got != 1 {
			t.Errorf("%d pods without a hold", got)
		}
		s.Stop()
	})
}

// An answer that is like the one before costs the server nothing.
func TestOnlyChangesAreSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &answers{}
		s, b := newManager(t, dns)
		var sets atomic.Int32
		s.Set = func(ctx context.Context, service string, from statefulroute.PodSource, pods []statefulroute.Pod) error {
			sets.Add(1)
			return b.set(ctx, service, from, pods)
		}
		dns.say("1 2", nil)
		b.mustChange(t, s, fromDNS("chat", "x"))
		time.Sleep(5 * time.Minute)
		s.Stop()
		if dns.asked < 50 || sets.Load() != 0 {
			t.Errorf("%d answers, %d lists set", dns.asked, sets.Load())
		}
	})
}
