package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// faultLoad sends requests at a steady rate: each client one a second, one after
// the other. Of ten clients six keep their session, two begin a new one every
// fifteen seconds, two have none.
type faultLoad struct {
	quit     chan struct{}
	wg       sync.WaitGroup
	requests atomic.Int64
	sessions atomic.Int64

	mu      sync.Mutex
	oddness []oddity
}

// oddity is a request that failed, or was served by another pod than its session's.
type oddity struct {
	Key          string // empty: the request had no session
	Pod          string // of the session, as far as it was known
	Served       string // by which pod; empty: it failed
	Last         time.Time
	Began, Ended time.Time
	Failure      string
}

const newSessionEvery = 15 // requests of a client

func startFaultLoad(s *harness.Stack, rate int) *faultLoad {
	l := &faultLoad{quit: make(chan struct{})}
	for i := range rate {
		l.wg.Go(func() {
			// So that the clients do not all send at once.
			offset := time.NewTimer(time.Duration(i) * time.Second / time.Duration(rate))
			defer offset.Stop()
			select {
			case <-l.quit:
				return
			case <-offset.C:
			}
			l.client(s, i%10)
		})
	}
	return l
}

func (l *faultLoad) stop() {
	close(l.quit)
	l.wg.Wait()
}

// client sends until the load ends. kind 0 and 1 have no session, 2 and 3 change it.
func (l *faultLoad) client(s *harness.Stack, kind int) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var session sessionSeen
	for n := 0; ; n++ {
		if kind >= 2 && (n == 0 || kind < 4 && n%newSessionEvery == 0) {
			session = sessionSeen{key: harness.Keys(1)[0]}
			l.sessions.Add(1)
		}
		var edits []harness.Edit
		if session.key != "" {
			edits = append(edits, harness.InHeader(session.key))
		}
		began := time.Now()
		a, err := s.OK(edits...)
		ended := time.Now()
		l.requests.Add(1)
		if err == nil && a.Session != session.key {
			err = fmt.Errorf("the session arrived as %q", a.Session)
		}
		if odd := session.saw(a.Pod, err, began, ended); odd != nil {
			l.mu.Lock()
			l.oddness = append(l.oddness, *odd)
			l.mu.Unlock()
		}
		select {
		case <-l.quit:
			return
		case <-tick.C:
		}
	}
}

// sessionSeen is what a client knows of its session's pod.
type sessionSeen struct {
	key, pod string
	last     time.Time // when the last request that the pod served began
	other    string    // served the request before, and was not the session's
}

// saw books an answer and returns what was odd about it. A session that is served
// twice in a row by another pod is at home there.
func (s *sessionSeen) saw(pod string, err error, began, ended time.Time) *oddity {
	odd := &oddity{Key: s.key, Pod: s.pod, Served: pod, Last: s.last, Began: began, Ended: ended}
	switch {
	case err != nil:
		odd.Served, odd.Failure = "", err.Error()
		return odd
	case s.key == "":
		return nil
	case s.pod == "" || s.pod == pod:
		s.pod, s.other, s.last = pod, "", began
		return nil
	case s.other == pod:
		s.pod, s.other, s.last = pod, "", began
		return nil // it was odd the first time
	}
	s.other = pod
	return odd
}
