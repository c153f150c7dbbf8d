package metrics

import (
	"sync"
	"sync/atomic"
)

// podNames bounds the pod label over all services of a process.
type podNames struct {
	max   int
	count atomic.Int64 // len(uses), read without the lock

	mu   sync.Mutex
	uses map[string]int // pod -> services that hold a handle for it
}

// take reports whether name may be a label value of its own.
func (p *podNames) take(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.uses[name] == 0 && len(p.uses) >= p.max {
		return false
	}
	p.uses[name]++
	p.count.Store(int64(len(p.uses)))
	return true
}

func (p *podNames) release(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.uses[name]--; p.uses[name] <= 0 {
		delete(p.uses, name)
	}
	p.count.Store(int64(len(p.uses)))
}

func (p *podNames) full() bool { return p.count.Load() >= int64(p.max) }
