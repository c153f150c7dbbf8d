package e2e

import (
	"cmp"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// sessionKind is how a client of the load treats its session.
type sessionKind int

const (
	steady sessionKind = iota // keeps it
	fresh                     // begins a new one every few requests
	none                      // has none
)

// newSessionEvery is how many requests a fresh client sends for one session.
const newSessionEvery = 5

// faultSeen is one request, as its client saw it.
type faultSeen struct {
	service, key string // key is empty where there is no session
	kind         sessionKind
	began, ended time.Time
	pod          string // that served it; empty: it failed
	reason       string // of a refusal, from its header
	failure      string
}

func (s faultSeen) took() time.Duration { return s.ended.Sub(s.began) }

// faultLoad sends requests at a steady rate: each client one after the other. Four fifths of
// the rate are of steady sessions, of which every fifth is of the service strict, a tenth is
// of fresh ones and a tenth has none.
type faultLoad struct {
	stack   *harness.Stack
	patient bool
	quit    chan struct{}
	end     sync.Once
	wg      sync.WaitGroup
	keys    map[string][]string // of the steady sessions, by service

	mu   sync.Mutex
	seen []faultSeen
	sent map[string]int // by steady session
}

func startFaultLoad(s *harness.Stack, sessions, rate int, patient bool) *faultLoad {
	l := &faultLoad{stack: s, patient: patient, quit: make(chan struct{}), keys: map[string][]string{}, sent: map[string]int{}}
	pause := time.Duration(sessions) * time.Second / time.Duration(rate*8/10)
	for i, key := range harness.Keys(sessions) {
		service := "chat"
		if i%5 == 4 {
			service = "strict"
		}
		l.keys[service] = append(l.keys[service], key)
		l.start(pause*time.Duration(i)/time.Duration(sessions), func() { l.client(service, key, steady, pause) })
	}
	for i := range rate / 10 {
		offset := time.Second * 10 * time.Duration(i) / time.Duration(rate)
		l.start(offset, func() { l.client("chat", "", fresh, time.Second) })
		l.start(offset, func() { l.client("chat", "", none, time.Second) })
	}
	return l
}

// start runs a client after a while, so that they do not all send at once.
func (l *faultLoad) start(after time.Duration, client func()) {
	l.wg.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-l.quit:
		case <-timer.C:
			client()
		}
	})
}

// stop ends the load; it may be called again.
func (l *faultLoad) stop() {
	l.end.Do(func() { close(l.quit) })
	l.wg.Wait()
}

// client sends until the load ends.
func (l *faultLoad) client(service, key string, kind sessionKind, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for n := 0; ; n++ {
		if kind == fresh && n%newSessionEvery == 0 {
			key = harness.Keys(1)[0]
		}
		l.note(l.send(service, key, kind))
		select {
		case <-l.quit:
			return
		case <-tick.C:
		}
	}
}

// send sends one request.
func (l *faultLoad) send(service, key string, kind sessionKind) faultSeen {
	edits := []harness.Edit{toService(service)}
	if key != "" {
		edits = append(edits, harness.InHeader(key))
	}
	s := faultSeen{service: service, key: key, kind: kind, began: time.Now()}
	a, err := l.stack.Get(edits...)
	s.ended = time.Now()
	switch {
	case err != nil:
		s.failure = err.Error()
	case a.Status != http.StatusOK:
		s.failure, s.reason = fmt.Sprintf("status %d: %s", a.Status, a.Text), cmp.Or(a.Header.Get("x-stateful-route-reason"), fmt.Sprint(a.Status))
	case a.Session != key:
		s.failure = fmt.Sprintf("the session arrived as %q", a.Session)
	default:
		s.pod = a.Pod
	}
	return s
}

// toService sends a request to a service of the stack by its host; chat has all others.
func toService(name string) harness.Edit {
	return func(r *http.Request) {
		if name != "chat" {
			r.Host = name + ".test"
		}
	}
}

func (l *faultLoad) note(s faultSeen) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, s)
	if s.kind == steady {
		l.sent[s.key]++
	}
}

// take returns what was seen since it was called last, in the order of the answers.
func (l *faultLoad) take() []faultSeen {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.seen
	l.seen = nil
	return all
}

// since returns how many steady sessions have sent two requests more than in the counts
// given: one of them from beginning to end.
func (l *faultLoad) since(counts map[string]int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for key, sent := range l.sent {
		if sent >= counts[key]+2 {
			n++
		}
	}
	return n
}

func (l *faultLoad) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]int, len(l.sent))
	for key, n := range l.sent {
		out[key] = n
	}
	return out
}

// ask sends a request beside the load. Where the load is patient it is sent again when the
// store did not answer in time, as happens on a busy machine.
func (l *faultLoad) ask(service, key string) faultSeen {
	for tries := 0; ; tries++ {
		if s := l.send(service, key, steady); !l.patient || s.reason != "table-unavailable" || tries == 50 {
			return s
		}
	}
}

// burst sends a request for each key, so many at once, and returns what was seen, by key.
func (l *faultLoad) burst(service string, keys []string, atOnce int) map[string]faultSeen {
	out := make([]faultSeen, len(keys))
	harness.Each(len(keys), atOnce, func(i int) { out[i] = l.ask(service, keys[i]) })
	by := make(map[string]faultSeen, len(keys))
	for _, s := range out {
		by[s.key] = s
	}
	return by
}
