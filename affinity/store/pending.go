package store

import (
	"strings"
	"sync"

	statefulroute "github.com/stateful-route/stateful-route"
)

type changeKey struct{ service, key string }

// change is the last thing that happened to a key. binding is nil if it is gone.
type change struct {
	binding *statefulroute.Binding
	// urgent changes are missed after a restart: a session that was just bound
	// or moved, or that an operator deleted. The others can wait: the use of a
	// binding, and the end of one that nobody used for long.
	urgent bool
}

// keyedChange is a change and whose it is.
type keyedChange struct {
	changeKey
	change
}

// pending is the changes that are not in the file yet, one for each key.
type pending struct {
	mu      sync.Mutex
	changes map[changeKey]change
	// The keys of changes in the order they came. A key may be in a queue twice,
	// or still when its change was taken: changes is what counts.
	urgent, patient []changeKey
	limit           int
	lost            uint64 // changes that found no room
	incomplete      bool   // the file lacks what was lost
	// during is the keys that changed since the present rewrite of the file
	// began; nil without one.
	during map[changeKey]struct{}
	wake   chan struct{}
}

func newPending(limit int) pending {
	return pending{changes: map[changeKey]change{}, limit: limit, wake: make(chan struct{}, 1)}
}

// note keeps a change; it never waits for the disk.
func (p *pending) note(k changeKey, c change) {
	p.mu.Lock()
	p.noteLocked(k, c)
	p.mu.Unlock()
	p.rouse()
}

func (p *pending) noteLocked(k changeKey, c change) {
	old, known := p.changes[k]
	if !known && len(p.changes) >= p.limit {
		p.lost++
		p.incomplete = true
		return
	}
	p.keepLocked(k, change{c.binding, c.urgent || old.urgent})
	if p.during == nil {
		return
	}
	if len(p.during) < p.limit {
		p.during[k] = struct{}{}
	}
	if len(p.during) >= p.limit {
		p.incomplete = true // this rewrite changes nothing more: another one will
	}
}

// keepLocked sets the change of a key and queues it.
func (p *pending) keepLocked(k changeKey, c change) {
	old, known := p.changes[k]
	p.changes[k] = c
	switch {
	case c.urgent && !old.urgent:
		p.urgent = append(p.urgent, k)
	case !known:
		p.patient = append(p.patient, k)
	}
}

// expedite makes a change urgent that could have waited.
func (p *pending) expedite(k changeKey) {
	p.mu.Lock()
	if c, ok := p.changes[k]; ok {
		// The caller's key may be a piece of something larger.
		k = changeKey{strings.Clone(k.service), strings.Clone(k.key)}
		p.keepLocked(k, change{c.binding, true})
	}
	p.mu.Unlock()
}

func (p *pending) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// takeUrgent hands over the oldest urgent changes, n at most.
func (p *pending) takeUrgent(n int) (out []keyedChange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.urgent) > 0 && len(out) < n {
		k := p.urgent[0]
		p.urgent = p.urgent[1:]
		if c, ok := p.changes[k]; ok && c.urgent {
			delete(p.changes, k)
			out = append(out, keyedChange{k, c})
		}
	}
	if len(p.urgent) == 0 {
		p.urgent = nil
	}
	return out
}

// takePatient hands over the queue of what can wait, but not its changes.
func (p *pending) takePatient() (keys []changeKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys, p.patient = p.patient, nil
	return keys
}

// take hands over the changes of the keys that have one.
func (p *pending) take(keys []changeKey) (out []keyedChange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		if c, ok := p.changes[k]; ok {
			delete(p.changes, k)
			out = append(out, keyedChange{k, c})
		}
	}
	return out
}

// giveBack returns changes that could not be written; newer ones win.
func (p *pending) giveBack(changes []keyedChange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		newer, ok := p.changes[c.changeKey]
		if ok {
			c.change = change{newer.binding, newer.urgent || c.urgent}
		}
		p.keepLocked(c.changeKey, c.change)
	}
}

// beginRewrite reports whether the file has to be rewritten, and remembers from
// now on what changes meanwhile.
func (p *pending) beginRewrite() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.incomplete {
		return false
	}
	p.incomplete, p.during = false, map[changeKey]struct{}{}
	return true
}

func (p *pending) endRewrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.during = nil
}

// changedSince reports whether a key may have changed since the rewrite began.
func (p *pending) changedSince(k changeKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.during[k]
	return ok || len(p.during) >= p.limit
}

// distrust has the whole file rewritten: nobody knows what is in it.
func (p *pending) distrust() {
	p.mu.Lock()
	p.incomplete = true
	p.mu.Unlock()
	p.rouse()
}

func (p *pending) state() (size int, lost uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.changes), p.lost
}
