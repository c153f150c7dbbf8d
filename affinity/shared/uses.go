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
	// unasked: the session was sent there without a lease. The store is asked whether it
	// has the same, whatever became of the binding here.
	unasked bool
	revoked bool // it must not be put back
}

// and is a use of the same session after u.
func (u use) and(newer use) use {
	if u.unasked && u.binding.Pod != newer.binding.Pod {
		return u
	}
	newer.revoked = u.revoked && !newer.putBack
	newer.putBack, newer.unasked = newer.putBack || u.putBack, newer.unasked || u.unasked
	return newer
}

// Put implements affinity.Journal. What was claimed or fetched just now the store knows.
func (u *Uses) Put(b statefulroute.Binding) {
	if b.LastSeen.Sub(b.Created) < u.idle.of(b.Service)/8 {
		return
	}
	u.add(use{binding: b})
}

// Delete implements affinity.Journal: a session that expires here expires in the store by
// itself, and one that is evicted stays there.
func (u *Uses) Delete(string, string) {}

func (u *Uses) add(newer use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending == nil {
		u.pending = map[sessionName]use{}
	}
	name := sessionName{newer.binding.Service, newer.binding.Key}
	u.pending[name] = u.pending[name].and(newer)
}

// addAgain is add for what could not be written, unless there is something newer.
func (u *Uses) addAgain(again map[sessionName]use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending == nil {
		u.pending = map[sessionName]use{}
	}
	for name, old := range again {
		if newer, ok := u.pending[name]; ok {
			old = old.and(newer)
		}
		u.pending[name] = old
	}
}

func (u *Uses) forget(service, key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	name := sessionName{service, key}
	if old := u.pending[name]; old.unasked {
		old.putBack, old.revoked = false, true
		u.pending[name] = old
		return
	}
	delete(u.pending, name)
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
