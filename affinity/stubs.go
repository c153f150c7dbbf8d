package affinity

import "math/bits"

// stubs remember the pods of bindings that were evicted while their session was
// alive: 8 bytes for each instead of an entry, so that there are four times as many
// of them as entries. A session that comes back goes to its pod again, and what it
// lost is its record. Without them this would be the list of stubs of ARC (Megiddo
// and Modha, FAST '03), which tells what should have been kept.
//
// They lie in buckets of a cache line, the newest first. The last place is for ids
// that were dropped in a flood, so that they drive out nothing but their like. In the
// others, a new stub takes the place of the oldest of its kind, came back before or
// not, if that kind has half of them.
type stubs struct {
	entries int      // of the shard
	cells   []uint64 // nil until the first one, as most tables are large enough

	next    int   // bucket to be swept next
	sweptAt int64 // when sweep was called last; 0: never
}

// A stub is, from the highest bit: 27 bits of the id, which with the bucket leave
// a chance of 6 in 10⁸ that a new id is taken for another; the pod, as podNumbers
// knows it, 0 for a session that was refused; when it was last seen, in units of
// 8.6 s and modulo 2^16, which is six and a half days; whether it had come back
// before; and the policy's mark. 0 is none.
type stub uint64

const (
	stubsPerEntry = 4
	stubsOfBucket = 8 // a cache line
	floodPlace    = stubsOfBucket - 1

	stubTimeBits  = 16
	stubUnitBits  = 33 // 8.6 s
	stubTagShift  = 37
	stubPodShift  = 21
	stubTimeShift = 5
	stubCameBack  = 1 << 4
	stubMarkMask  = 1<<4 - 1

	// stubRange is when a stub's age begins anew. Before that, from stubMost on, it
	// is forgotten: sweep sees each stub at least once in between.
	stubRange = 1 << (stubTimeBits + stubUnitBits)
	stubMost  = stubRange - stubRange/8 // 5.7 days
	stubPass  = stubRange / 32          // in which sweep sees each once
	stubsStep = 256                     // buckets swept under one hold of the lock
)

func newStub(id uint64, pod uint16, lastSeen int64, cameBack bool, mark uint8) stub {
	s := stubTag(id)<<stubTagShift | stub(pod)<<stubPodShift | stub(stubTime(lastSeen))<<stubTimeShift | stub(mark&stubMarkMask)
	if cameBack {
		s |= stubCameBack
	}
	return s
}

// stubTag is 27 bits of an id that neither its shard, which its upper bits choose, nor
// its bucket, for which bits 19 to 31 do, tells already.
func stubTag(id uint64) stub { return stub(id&(1<<19-1)<<8 | id>>32&(1<<8-1)) }

// stubTime is a time as stubs know it.
func stubTime(nanos int64) uint16 { return uint16(nanos>>stubUnitBits) & (1<<stubTimeBits - 1) }

func (s stub) is(id uint64) bool { return s != 0 && s>>stubTagShift == stubTag(id) }
func (s stub) pod() uint16       { return uint16(s >> stubPodShift) }
func (s stub) time() uint16      { return uint16(s>>stubTimeShift) & (1<<stubTimeBits - 1) }
func (s stub) cameBack() bool    { return s&stubCameBack != 0 }
func (s stub) mark() uint8       { return uint8(s & stubMarkMask) }

// idle is for how long the session has not been seen, or up to a unit more: none
// that expired is taken for alive. It is right for stubs up to stubRange old.
func (s stub) idle(now int64) int64 {
	units := (stubTime(now) - s.time()) & (1<<stubTimeBits - 1)
	return int64(units)<<stubUnitBits | now&(1<<stubUnitBits-1)
}

func (t *stubs) bucket(id uint64) []uint64 {
	if t.cells == nil {
		n := (t.entries*stubsPerEntry + stubsOfBucket - 1) / stubsOfBucket
		t.cells = make([]uint64, n*stubsOfBucket)
	}
	n, _ := bits.Mul64(id<<32, uint64(len(t.cells)/stubsOfBucket))
	return t.cells[n*stubsOfBucket:][:stubsOfBucket]
}

// find returns the stub of an id, 0 if there is none.
func (t *stubs) find(id uint64) stub {
	if t.cells == nil {
		return 0
	}
	for _, c := range t.bucket(id) {
		if s := stub(c); s.is(id) {
			return s
		}
	}
	return 0
}

// take is find, and forgets it.
func (t *stubs) take(id uint64) stub {
	if t.cells == nil {
		return 0
	}
	b := t.bucket(id)
	for i, c := range b {
		if s := stub(c); s.is(id) {
			if i < floodPlace {
				copy(b[i:floodPlace], b[i+1:floodPlace])
				i = floodPlace - 1
			}
			b[i] = 0
			return s
		}
	}
	return 0
}

// put remembers an id that is not remembered.
func (t *stubs) put(id uint64, s stub) {
	b := t.bucket(id)
	i := leave(b[:floodPlace], s.cameBack())
	copy(b[1:i+1], b[:i])
	b[0] = uint64(s)
}

// putFlood is put of an id that was dropped in a flood.
func (t *stubs) putFlood(id uint64, s stub) { t.bucket(id)[floodPlace] = uint64(s) }

// leave is the place that a new stub takes: an empty one, or that of the oldest of
// the kind that would have more than half.
func leave(b []uint64, cameBack bool) int {
	returned := 0
	for i, c := range b {
		if c == 0 {
			return i
		}
		if stub(c).cameBack() {
			returned++
		}
	}
	if cameBack {
		returned++
	}
	drop := returned > len(b)/2
	for i := len(b) - 1; i > 0; i-- {
		if stub(b[i]).cameBack() == drop {
			return i
		}
	}
	return 0
}

// alive reports whether the session's binding would not have expired by now.
func (s stub) alive(of *service, now int64) bool {
	return s != 0 && s.idle(now) <= min(of.idleNanos(), stubMost)
}

// due is how many buckets are to be swept now, for each to be seen once in a stubPass.
// If nobody swept for so long that ages may have begun anew, it forgets all stubs.
func (t *stubs) due(now int64) int {
	all := len(t.cells) / stubsOfBucket
	since := now - t.sweptAt
	n := all
	if since < stubPass {
		n = int(float64(all) * float64(since) / stubPass)
	}
	switch {
	case t.sweptAt == 0 || all == 0:
		n = 0
	case n == 0:
		return 0 // not yet
	case since > stubRange-stubMost-stubPass:
		clear(t.cells)
		n = 0
	}
	t.sweptAt = now
	return n
}

// sweep forgets the stubs of n buckets whose ages would soon begin anew.
func (t *stubs) sweep(n int, now int64) {
	for range n {
		if t.next >= len(t.cells)/stubsOfBucket {
			t.next = 0
		}
		forgetOld(t.cells[t.next*stubsOfBucket:][:stubsOfBucket], now)
		t.next++
	}
}

func forgetOld(b []uint64, now int64) {
	old := func(c uint64) bool { return c == 0 || stub(c).idle(now) > stubMost }
	if old(b[floodPlace]) {
		b[floodPlace] = 0
	}
	kept := 0
	for _, c := range b[:floodPlace] {
		if !old(c) {
			b[kept] = c
			kept++
		}
	}
	clear(b[kept:floodPlace])
}
