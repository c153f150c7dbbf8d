package store

import (
	"sync"

	statefulroute "github.com/stateful-route/stateful-route"
)

type changeKey struct{ service, key string }

// change is the last thing that happened to a key; binding is nil if it is gone.
type change struct{ binding *statefulroute.Binding }

// pending is the changes that are not in the file yet, one for each key.
type pending struct {
	mu      sync.Mutex
	changes map[changeKey]change
	limit   int
	lost    uint64 // changes that found no room, since the last rewrite
	wake    chan struct{}
}

func newPending(limit int) pending {
	return pending{changes: map[changeKey]change{}, limit: limit, wake: make(chan struct{}, 1)}
}

// note keeps a change; it never waits for the disk.
func (p *pending) note(k changeKey, c change) {
	p.mu.Lock()
	if _, known := p.changes[k]; known || len(p.changes) < p.limit {
		p.changes[k] = c
	} else {
		p.lost++
	}
	p.mu.Unlock()
	p.rouse()
}

func (p *pending) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take hands all changes over, and tells how many were lost.
func (p *pending) take() (changes map[changeKey]change, lost uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changes, lost = p.changes, p.lost
	p.changes, p.lost = make(map[changeKey]change, min(len(changes), 1024)), 0
	return changes, lost
}

// giveBack returns changes that could not be written; newer ones win.
func (p *pending) giveBack(changes map[changeKey]change, lost uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, c := range changes {
		if _, newer := p.changes[k]; !newer {
			p.changes[k] = c
		}
	}
	p.lost += lost
}

func (p *pending) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.changes)
}
