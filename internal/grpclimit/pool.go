package grpclimit

import (
	"sync"
	"sync/atomic"
)

// Pool is so many units of something that several holders share: each may always
// have its guaranteed ones, and all take what they need beyond from the rest. So
// one that takes all it can get leaves every other its guarantee.
type Pool struct {
	guaranteed int64
	rest       atomic.Int64
}

// NewPool returns a pool from which each holder has its guaranteed units, and
// rest are for whoever comes.
func NewPool(guaranteed, rest int) *Pool {
	p := &Pool{guaranteed: int64(guaranteed)}
	p.rest.Store(int64(rest))
	return p
}

// Free is how many units are left beyond the guaranteed ones.
func (p *Pool) Free() int { return int(p.rest.Load()) }

func (p *Pool) take(n int64) bool {
	for {
		left := p.rest.Load()
		if left < n {
			return false
		}
		if p.rest.CompareAndSwap(left, left-n) {
			return true
		}
	}
}

// Share is what one holder has of a pool. Safe for concurrent use; not to be copied.
type Share struct {
	pool *Pool

	mu   sync.Mutex
	held int64
}

// Share returns the empty share of a new holder.
func (p *Pool) Share() Share { return Share{pool: p} }

// Take takes n more units, or none where the pool has not enough.
func (s *Share) Take(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	beyond := s.beyond(s.held+int64(n)) - s.beyond(s.held)
	if beyond > 0 && !s.pool.take(beyond) {
		return false
	}
	s.held += int64(n)
	return true
}

// Give returns n units.
func (s *Share) Give(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool.rest.Add(s.beyond(s.held) - s.beyond(s.held-int64(n)))
	s.held -= int64(n)
}

// GiveAll returns everything: the holder is gone.
func (s *Share) GiveAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool.rest.Add(s.beyond(s.held))
	s.held = 0
}

// Held is how many units the holder has.
func (s *Share) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.held)
}

// beyond is how many of held units are not guaranteed.
func (s *Share) beyond(held int64) int64 { return max(0, held-s.pool.guaranteed) }
