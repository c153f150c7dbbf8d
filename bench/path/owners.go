package main

import "sync/atomic"

// owners is which pod each known session belongs to: what its first answer said and, from then
// on, what the moves made of it. It is what answers are held against.
type owners struct {
	words []atomic.Uint64
}

func newOwners(n int) *owners { return &owners{words: make([]atomic.Uint64, n)} }

// owned is the state of a session: changes<<32 | (old pod+1)<<16 | pod+1. There is an old pod while
// a move is under way: either may answer then. 0 is not known yet.
type owned uint64

func (o owned) changes() uint64 { return uint64(o >> 32) }

func (o owned) has(pod int) bool {
	return int(o&0xffff) == pod+1 || int(o>>16&0xffff) == pod+1
}

// before is the state to give to wrong, taken before a request is sent.
func (o *owners) before(session int64) owned { return owned(o.words[session].Load()) }

// wrong reports whether the pod should not have answered a request that was sent when the
// session's state was as given. The first answer decides.
func (o *owners) wrong(session int64, was owned, pod int) bool {
	w := &o.words[session]
	if was == 0 && w.CompareAndSwap(0, uint64(pod+1)) {
		return false
	}
	now := owned(w.Load())
	// A session that was moved more than once in the meantime may have been anywhere.
	return !was.has(pod) && !now.has(pod) && now.changes()-was.changes() <= 2
}

// move begins a move to the next of pods; it is not ok when another is under way or
// nobody knows the session yet. Until done is called both pods are right.
func (o *owners) move(session int64, pods int) (to int, done func(), ok bool) {
	w := &o.words[session]
	was := owned(w.Load())
	if was == 0 || was>>16&0xffff != 0 {
		return 0, nil, false
	}
	to = int(was&0xffff) % pods
	moving := (was.changes()+1)<<32 | uint64(was&0xffff)<<16 | uint64(to+1)
	if !w.CompareAndSwap(uint64(was), moving) {
		return 0, nil, false
	}
	return to, func() { w.Store((was.changes()+2)<<32 | uint64(to+1)) }, true
}
