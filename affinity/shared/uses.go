package shared

import (
	"maps"
	"slices"
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
	// written are those that were taken last, as they are by now.
	written map[sessionName]use
}

type use struct {
	binding statefulroute.Binding
	putBack bool
	// unasked: the session was sent there without a lease. The store is asked whether it
	// has the same, whatever became of the binding here.
	unasked bool
	revoked bool // it must not be put back
	// overtaken: unasked, and the session has changed since, or was sent to several pods. Some
	// of its requests may have been sent elsewhere, whatever the store says now.
	overtaken bool
}

// and is a use of the same session after u.
func (u use) and(newer use) use {
	if u.unasked && u.binding.Pod != newer.binding.Pod {
		u.overtaken = u.overtaken || newer.unasked
		return u
	}
	newer.overtaken = newer.overtaken || u.overtaken
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

// addAgain is add for what was taken and could not be written, unless there is something newer.
// What has become of it meanwhile counts.
func (u *Uses) addAgain(again map[sessionName]use) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.pending == nil {
		u.pending = map[sessionName]use{}
	}
	for name := range again {
		old, ok := u.written[name]
		if !ok {
			continue
		}
		if newer, ok := u.pending[name]; ok {
			old = old.and(newer)
		}
		u.pending[name] = old
	}
}

// revoke is for a session that was moved or has ended.
func (u *Uses) revoke(service, key string) {
	u.settle(sessionName{service, key}, func(use) bool { return true })
}

// confirm is for a session whose binding the store has just said.
func (u *Uses) confirm(b *statefulroute.Binding) {
	u.settle(sessionName{b.Service, b.Key}, func(old use) bool { return old.differs(b) })
}

// settle forgets the use of a session, but that it was unasked.
func (u *Uses) settle(name sessionName, overtakes func(use) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, uses := range []map[sessionName]use{u.pending, u.written} {
		old, ok := uses[name]
		switch {
		case !ok:
		case old.unasked:
			old.putBack, old.revoked, old.overtaken = false, true, old.overtaken || overtakes(old)
			uses[name] = old
		default:
			delete(uses, name)
		}
	}
}

// revokeAll is revoke for all.
func (u *Uses) revokeAll() {
	u.mu.Lock()
	var names []sessionName
	for _, uses := range []map[sessionName]use{u.pending, u.written} {
		names = slices.AppendSeq(names, maps.Keys(uses))
	}
	u.mu.Unlock()
	for _, name := range names {
		u.revoke(name.service, name.key)
	}
}

// wasElsewhere reports whether some of a session's requests may have been sent elsewhere than
// the store says now: they were unasked, and it says another binding or was overtaken.
func (u *Uses) wasElsewhere(sent *Use, said *statefulroute.Binding) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	taken := u.written[sessionName{sent.Binding.Service, sent.Binding.Key}]
	return sent.Unasked && (taken.overtaken || use{binding: sent.Binding}.differs(said))
}

// differs reports whether the store's binding is another one than that which was used.
func (u use) differs(said *statefulroute.Binding) bool {
	return u.binding.Pod != said.Pod || u.binding.Epoch != provisional && u.binding.Epoch != said.Epoch
}

// take returns all, and begins anew. What was taken before is forgotten.
func (u *Uses) take() map[sessionName]use {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.pending
	u.pending, u.written = nil, maps.Clone(all)
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
