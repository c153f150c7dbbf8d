package shared

import (
	"sync"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// sessionName names a session.
type sessionName struct{ service, key string }

// Uses gathers the uses of sessions that the store is to hear of; it is the Journal of a
// replica's table. Of each session the last one counts, so it has at most as many as the
// table has sessions. The zero value is ready.
type Uses struct {
	idle idleTimeouts

	mu      sync.Mutex
	pending map[sessionName]use
}

type use struct {
	binding statefulroute.Binding
	putBack bool
}

// Put implements affinity.Journal. What was claimed or fetched just now the store knows.
func (u *Uses) Put(b statefulroute.Binding) {
	if b.LastSeen.Sub(b.Created) < u.idle.of(b.Service)/8 {
		return
	}
	u.add(b, false)
}

// Delete implements affinity.Journal: a session that expires here expires in the store by
// itself, and one that is evicted stays there.
func (u *Uses) Delete(string, string) {}

func (u *Uses) add(b statefulroute.Binding, putBack bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending == nil {
		u.pending = map[sessionName]use{}
	}
	name := sessionName{b.Service, b.Key}
	u.pending[name] = use{b, putBack || u.pending[name].putBack}
}

// addAgain is add for what could not be written, unless there is something newer.
func (u *Uses) addAgain(again map[sessionName]use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending == nil {
		u.pending = map[sessionName]use{}
	}
	for name, old := range again {
		newer, ok := u.pending[name]
		if !ok {
			newer = old
		}
		newer.putBack = newer.putBack || old.putBack
		u.pending[name] = newer
	}
}

func (u *Uses) forget(service, key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.pending, sessionName{service, key})
}

// take returns all, and begins anew.
func (u *Uses) take() map[sessionName]use {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.pending
	u.pending = nil
	return all
}

// idleTimeouts are those of the services.
type idleTimeouts struct {
	mu sync.RWMutex
	by map[string]time.Duration
}

func (i *idleTimeouts) set(service string, d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.by == nil {
		i.by = map[string]time.Duration{}
	}
	i.by[service] = d
}

func (i *idleTimeouts) of(service string) time.Duration {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.by[service]
}
