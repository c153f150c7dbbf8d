package pod

import (
	"sync"
	"time"
)

// memory is all that a pod knows; it ends with the process.
type memory struct {
	name        string
	secret      []byte
	incarnation int64

	mu     sync.Mutex
	visits map[state]visits
}

// state is what a pod finds its visits by: an application that gets another id
// finds nothing.
type state struct{ session, key string }

type visits struct {
	n     int
	since int64
}

func newMemory(name string, secret []byte, now time.Time) *memory {
	return &memory{name: name, secret: secret, incarnation: now.UnixNano(), visits: map[state]visits{}}
}

// visit counts one and answers for it.
func (m *memory) visit(session, key, nonce string, now time.Time) Answer {
	m.mu.Lock()
	of := state{session, key}
	v := m.visits[of]
	if v.n == 0 {
		v.since = now.UnixNano()
	}
	v.n++
	m.visits[of] = v
	m.mu.Unlock()
	return Answer{
		Pod: m.name, Incarnation: m.incarnation, Session: session, Key: key,
		Visits: v.n, Since: v.since, Nonce: nonce,
	}.Sign(m.secret)
}
