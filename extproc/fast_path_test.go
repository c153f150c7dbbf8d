package extproc

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/wire"
)

// mapFastPath is a fast path that nobody reads. It notes how the directory stood when it was
// told something.
type mapFastPath struct {
	directory *Directory
	refused   error // of all that can fail

	mu       sync.Mutex
	events   []string
	sessions map[string]string // pod by key
}

func (f *mapFastPath) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, fmt.Sprintf(format, args...))
}

// told returns what was noted since it was called last, in order.
func (f *mapFastPath) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	events := f.events
	f.events = nil
	return events
}

func (f *mapFastPath) Activate() error {
	f.note("activate, known %v", f.directory.Has("chat"))
	return f.refused
}

func (f *mapFastPath) SetService(svc statefulroute.Service) error {
	now := f.directory.service(svc.Name)
	f.note("service %v %s, in force %v", svc.Session.FastPath, svc.Session.IdleTimeout, now != nil && now.policy.Prefix == svc.Prefix)
	return f.refused
}

func (f *mapFastPath) RemoveService(name string) {
	f.note("no service, known %v", f.directory.Has(name))
}

func (f *mapFastPath) SetPod(service, pod string, address netip.AddrPort, serving bool) error {
	state := "gone"
	if s := f.directory.service(service); s != nil && s.pods[pod] != nil {
		state = fmt.Sprintf("%s at %s", s.pods[pod].State, s.pods[pod].Address)
	}
	f.note("%s at %s %v, is %s", pod, address, serving, state)
	return f.refused
}

func (f *mapFastPath) RemovePod(service, pod string) {
	f.note("no %s, known %v", pod, f.directory.service(service).pods[pod] != nil)
}

func (f *mapFastPath) Show(_, key, pod string, _ time.Duration, _ uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions[key] = pod
	return true
}

func (f *mapFastPath) Withdraw(_, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, key)
}

func (f *mapFastPath) Used(_, key string) (n uint32, age time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok = f.sessions[key]
	return 0, 0, ok
}

// Recent implements affinity.Mirror: nothing is used here.
func (f *mapFastPath) Recent(to []uint64, _, _ int, _ time.Duration) []uint64 { return to }

// shown are the sessions that are shown, by their pods.
func (f *mapFastPath) shown() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.sessions)
}

// newFastPath is a fast path with its directory, which knows no services yet.
func newFastPath(t testing.TB) *mapFastPath {
	t.Helper()
	f := &mapFastPath{sessions: map[string]string{}}
	d, err := NewDirectory(DirectoryOptions{Monitor: extproctest.NewMonitor(t), FastPath: f, DefaultIdleTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	f.directory = d
	return f
}

// startFastProcessor is startProcessor with a fast path.
func startFastProcessor(t testing.TB, services ...wire.ServiceState) (*processor, *mapFastPath) {
	t.Helper()
	f := newFastPath(t)
	f.directory.Set(services, true)
	f.told()
	return startProcessorOf(t, f.directory, extproctest.NewTable(t, func(o *affinity.Options) { o.Mirror = f })), f
}

// What Envoys do by themselves is taken back before it is not right any more, and allowed
// when it is: a pod is not shown as serving when the directory does not have it so.
func TestFastPathFollowsTheDirectory(t *testing.T) {
	f := newFastPath(t)
	moved := pods(2)
	moved[1].Address = netip.MustParseAddrPort("127.0.0.1:9999")
	other := chat()
	other.Prefix = "/other"
	epochs := chat()
	epochs.Session.EpochHeader, epochs.Session.IdleTimeout = true, time.Hour
	for _, step := range []struct {
		services []wire.ServiceState
		told     []string
	}{
		{[]wire.ServiceState{stateOf(chat(), pods(2))}, []string{
			"service true 1m0s, in force false", "activate, known false", "chat-0 at 127.0.0.1:9100 true, is gone",
			"chat-0 at 127.0.0.1:9100 true, is ready at 127.0.0.1:9100", "chat-1 at 127.0.0.1:9101 true, is gone",
			"chat-1 at 127.0.0.1:9101 true, is ready at 127.0.0.1:9101", "service true 1m0s, in force true",
		}},
		{[]wire.ServiceState{stateOf(chat(), withState(pods(2), "chat-1", statefulroute.Draining))}, nil},
		{[]wire.ServiceState{stateOf(chat(), withState(pods(2), "chat-1", statefulroute.Maintenance))}, []string{
			"chat-1 at 127.0.0.1:9101 false, is draining at 127.0.0.1:9101", "chat-1 at 127.0.0.1:9101 false, is maintenance at 127.0.0.1:9101",
		}},
		{[]wire.ServiceState{stateOf(chat(), pods(2))}, []string{"chat-1 at 127.0.0.1:9101 true, is ready at 127.0.0.1:9101"}},
		{[]wire.ServiceState{stateOf(chat(), moved)}, []string{
			"chat-1 at 127.0.0.1:9101 false, is ready at 127.0.0.1:9101", "chat-1 at 127.0.0.1:9999 true, is ready at 127.0.0.1:9999",
		}},
		{[]wire.ServiceState{stateOf(chat(), pods(1))}, []string{"no chat-1, known true"}},
		{[]wire.ServiceState{stateOf(other, pods(1))}, []string{"service false 0s, in force true", "service true 1m0s, in force true"}},
		{[]wire.ServiceState{stateOf(epochs, pods(1))}, []string{"service false 0s, in force true", "service false 1h0m0s, in force true"}},
		{nil, []string{"no service, known true"}},
	} {
		f.directory.Set(step.services, true)
		got := f.told()
		if len(got) > 2 { // the first: all is there when it is activated, pods in any order
			if got[3] != "activate, known false" {
				t.Errorf("told in the order %q", got)
			}
			slices.Sort(got[1:])
		}
		if !slices.Equal(got, step.told) {
			t.Errorf("told\n%q\nwant\n%q", got, step.told)
		}
	}
}

// A new default has the fast path forget as the table does.
func TestFastPathFollowsTheDefaultIdleTimeout(t *testing.T) {
	f := newFastPath(t)
	f.directory.Set([]wire.ServiceState{stateOf(chat(), pods(1))}, true)
	f.told()
	f.directory.SetDefaultIdleTimeout(time.Hour)
	if got := f.told(); !slices.Equal(got, []string{"service true 1h0m0s, in force true"}) {
		t.Errorf("told %q", got)
	}
}

// A fast path that fails is no reason not to serve.
func TestFastPathFails(t *testing.T) {
	f := newFastPath(t)
	f.refused = errors.New("no room")
	f.directory.Set([]wire.ServiceState{stateOf(chat(), pods(1))}, true)
	if !f.directory.Has("chat") || !slices.Contains(f.told(), "no service, known true") {
		t.Error("the service is not served, or was not left out of the fast path")
	}
	if out := f.directory.LeftOut(); len(out) != 2 || !strings.Contains(out[0], `1 of the services are left out of the fast path, one of them "chat": no room`) ||
		!strings.Contains(out[1], "1 of the pods are left out of the fast path") {
		t.Errorf("left out: %q", out)
	}
	f.refused = nil
	other, moved := chat(), pods(1)
	other.Prefix, moved[0].Address = "/other", netip.MustParseAddrPort("127.0.0.1:9998")
	f.directory.Set([]wire.ServiceState{stateOf(other, moved)}, true)
	if out := f.directory.LeftOut(); len(out) != 0 {
		t.Errorf("left out though there is room: %q", out)
	}
}

// Known sessions are shown where that leaves out nothing, once the response has said what it
// may have to say.
func TestKnownSessionsAreShown(t *testing.T) {
	withEpochs := func(s *statefulroute.Service) { s.Session.EpochHeader = true }
	off := func(s *statefulroute.Service) { s.Session.FastPath = false }
	for name, c := range map[string]struct {
		service statefulroute.Service
		request []string
		shown   bool
	}{
		"known by its header":   {chat(), []string{"x-session-id", "alice"}, true},
		"issued":                {chat(issuing), nil, true},
		"not named":             {chat(), nil, false},
		"of a service off":      {chat(off), []string{"x-session-id", "alice"}, false},
		"of a service learning": {chat(learning), []string{"x-session-id", "alice"}, true},
		"with epochs":           {chat(withEpochs), []string{"x-session-id", "alice"}, false},
		"a preflight":           {chat(issuing), []string{":method", "OPTIONS", "access-control-request-method", "GET"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, f := startFastProcessor(t, stateOf(c.service, pods(3)))
			m := requestMessage(append([]string{":path", "/"}, c.request...)...)
			o := p.open("chat")
			o.exchange(m)
			if n := len(f.shown()); n > 0 {
				t.Errorf("%d sessions are shown before their claim is settled", n)
			}
			o.response("127.0.0.1:9100", ":status", "200")
			if n := len(f.shown()); (n == 1) != c.shown {
				t.Errorf("%d sessions are shown, want it %v", n, c.shown)
			}
			o.finish()
		})
	}
}

// A session that is known is shown without a look at the response; one that its request has
// ended is not.
func TestShownWithItsDecision(t *testing.T) {
	ending := func(s *statefulroute.Service) { s.Session.End = []statefulroute.SessionEnd{{Method: "DELETE"}} }
	p, f := startFastProcessor(t, stateOf(chat(ending), pods(1)))
	now := time.Now()
	for range 2 * sampleBurst { // none of the requests to come has its response looked at
		p.directory.service("chat").pods["chat-0"].sampler.take(now)
	}
	p.table.Claim("chat", "alice", "chat-0", now)
	o, _ := p.request("x-session-id", "alice")
	o.finish()
	if got := f.shown(); got["alice"] != "chat-0" {
		t.Errorf("shown: %v", got)
	}
	o = p.open("chat")
	o.exchange(requestMessage(":method", "DELETE", ":path", "/", "x-session-id", "alice"))
	o.response("127.0.0.1:9100", ":status", "204")
	o.finish()
	if got := f.shown(); len(got) > 0 {
		t.Errorf("ended, and shown: %v", got)
	}
}

// Every change of a session is in force when the call returns.
func TestShownIsInForce(t *testing.T) {
	p, f := startFastProcessor(t, stateOf(chat(), pods(3)))
	o, _ := p.request("x-session-id", "alice")
	o.response("127.0.0.1:9100", ":status", "200")
	o.finish()
	if _, err := p.table.Move("chat", "alice", "chat-2", time.Now()); err != nil || !maps.Equal(f.shown(), map[string]string{"alice": "chat-2"}) {
		t.Errorf("after the move %v is shown: %v", f.shown(), err)
	}
	o, _ = p.request("x-session-id", "alice")
	o.response("127.0.0.1:9102", ":status", "200")
	o.finish()
	if got := f.shown(); got["alice"] != "chat-2" {
		t.Errorf("after the next request %v is shown", got)
	}
	p.directory.Set([]wire.ServiceState{stateOf(chat(), without(pods(3), "chat-2"))}, true)
	o, _ = p.request("x-session-id", "alice")
	o.response("127.0.0.1:9100", ":status", "200")
	o.finish()
	bound, _ := p.table.Peek("chat", "alice", time.Now())
	if got := f.shown(); got["alice"] != bound.Pod || bound.Pod == "chat-2" {
		t.Errorf("after its pod was lost %v is shown, bound is %+v", got, bound)
	}
}
