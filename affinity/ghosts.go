package affinity

import "math/bits"

// ghosts remember the pods of bindings that were evicted while their session was
// alive: 8 bytes for each instead of an entry, so that there are four times as many
// of them as entries. A session that comes back goes to its pod again, and what it
// lost is its record. In ARC (Megiddo and Modha, FAST '03), where the name is from,
// a ghost only tells what should have been kept; here it also says where.
//
//	len(cells) = ghostsPerEntry·entries, rounded up to a bucket
//
// They lie in buckets of a cache line, the newest first. The last place is for ids
// that were dropped in a flood, so that they drive out nothing but their like. In the
// others, a new ghost takes the place of the oldest of its kind, came back before or
// not, if that kind has half of them.
type ghosts struct {
	entries int      // of the shard
	cells   []uint64 // nil until the first one, as most tables are large enough

	next    int   // bucket to be swept next
	sweptAt int64 // when sweep was called last; 0: never
}

// A ghost is, from the highest bit: 27 bits of the id, which with the bucket leave
// a chance of 6 in 10⁸ that a new id is taken for another; the pod, as podNumbers
// knows it, 0 for a session that was refused; when it was last seen, in units of
// 8.6 s and modulo 2^16, which is six and a half days; whether it had come back
// before; and the policy's mark. 0 is none.
type ghost uint64

const (
	ghostsPerEntry = 4
	ghostsOfBucket = 8 // a cache line
	floodPlace     = ghostsOfBucket - 1

	ghostTimeBits  = 16
	ghostUnitBits  = 33 // 8.6 s
	ghostTagShift  = 37
	ghostPodShift  = 21
	ghostTimeShift = 5
	ghostCameBack  = 1 << 4
	ghostMarkMask  = 1<<4 - 1

	// ghostRange is when a ghost's age begins anew. Before that, from ghostMost on, it
	// is forgotten: sweep sees each ghost at least once in between.
	ghostRange = 1 << (ghostTimeBits + ghostUnitBits)
	ghostMost  = ghostRange - ghostRange/8 // 5.7 days
	ghostPass  = ghostRange / 32           // in which sweep sees each once
	ghostsStep = 256                       // buckets swept under one hold of the lock
)

func newGhost(id uint64, pod uint16, lastSeen int64, cameBack bool, mark uint8) ghost {
	s := ghostTag(id)<<ghostTagShift | ghost(pod)<<ghostPodShift | ghost(ghostTime(lastSeen))<<ghostTimeShift | ghost(mark&ghostMarkMask)
	if cameBack {
		s |= ghostCameBack
	}
	return s
}

// ghostTag is 27 bits of an id that neither its shard, which its upper bits choose, nor
// its bucket, for which bits 19 to 31 do, tells already.
func ghostTag(id uint64) ghost { return ghost(id&(1<<19-1)<<8 | id>>32&(1<<8-1)) }

// ghostTime is a time as ghosts know it.
func ghostTime(nanos int64) uint16 { return uint16(nanos>>ghostUnitBits) & (1<<ghostTimeBits - 1) }

func (s ghost) is(id uint64) bool { return s != 0 && s>>ghostTagShift == ghostTag(id) }
func (s ghost) pod() uint16       { return uint16(s >> ghostPodShift) }
func (s ghost) time() uint16      { return uint16(s>>ghostTimeShift) & (1<<ghostTimeBits - 1) }
func (s ghost) cameBack() bool    { return s&ghostCameBack != 0 }
func (s ghost) mark() uint8       { return uint8(s & ghostMarkMask) }

// idle is for how long the session has not been seen, or up to a unit more: none
// that expired is taken for alive. It is right for ghosts up to ghostRange old.
func (s ghost) idle(now int64) int64 {
	units := (ghostTime(now) - s.time()) & (1<<ghostTimeBits - 1)
	return int64(units)<<ghostUnitBits | now&(1<<ghostUnitBits-1)
}

func (t *ghosts) bucket(id uint64) []uint64 {
	if t.cells == nil {
		n := (t.entries*ghostsPerEntry + ghostsOfBucket - 1) / ghostsOfBucket
		t.cells = make([]uint64, n*ghostsOfBucket)
	}
	n, _ := bits.Mul64(id<<32, uint64(len(t.cells)/ghostsOfBucket))
	return t.cells[n*ghostsOfBucket:][:ghostsOfBucket]
}

// find returns the ghost of an id, 0 if there is none.
func (t *ghosts) find(id uint64) ghost {
	if t.cells == nil {
		return 0
	}
	for _, c := range t.bucket(id) {
		if s := ghost(c); s.is(id) {
			return s
		}
	}
	return 0
}

// take is find, and forgets it.
func (t *ghosts) take(id uint64) ghost {
	if t.cells == nil {
		return 0
	}
	b := t.bucket(id)
	for i, c := range b {
		if s := ghost(c); s.is(id) {
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
func (t *ghosts) put(id uint64, s ghost) {
	b := t.bucket(id)
	i := leave(b[:floodPlace], s.cameBack())
	copy(b[1:i+1], b[:i])
	b[0] = uint64(s)
}

// putFlood is put of an id that was dropped in a flood.
func (t *ghosts) putFlood(id uint64, s ghost) { t.bucket(id)[floodPlace] = uint64(s) }

// leave is the place that a new ghost takes: an empty one, or that of the oldest of
// the kind that would have more than half.
func leave(b []uint64, cameBack bool) int {
	returned := 0
	for i, c := range b {
		if c == 0 {
			return i
		}
		if ghost(c).cameBack() {
			returned++
		}
	}
	if cameBack {
		returned++
	}
	drop := returned > len(b)/2
	for i := len(b) - 1; i > 0; i-- {
		if ghost(b[i]).cameBack() == drop {
			return i
		}
	}
	return 0
}

// renew counts the session of a ghost as seen.
func (t *ghosts) renew(id uint64, now int64) {
	if t.cells == nil {
		return
	}
	b := t.bucket(id)
	for i, c := range b {
		if s := ghost(c); s.is(id) {
			b[i] = uint64(newGhost(id, s.pod(), now, s.cameBack(), s.mark()))
			return
		}
	}
}

// alive reports whether the session's binding would not have expired by now.
func (s ghost) alive(of *service, now int64) bool {
	return s != 0 && s.idle(now) <= min(of.idleNanos(), ghostMost)
}

// due is how many buckets are to be swept now, for each to be seen once in a ghostPass.
// If nobody swept for so long that ages may have begun anew, it forgets all ghosts.
func (t *ghosts) due(now int64) int {
	all := len(t.cells) / ghostsOfBucket
	since := now - t.sweptAt
	n := all
	if since < ghostPass {
		n = int(float64(all) * float64(since) / ghostPass)
	}
	switch {
	case t.sweptAt == 0 || all == 0:
		n = 0
	case n == 0:
		return 0 // not yet
	case since > ghostRange-ghostMost-ghostPass:
		clear(t.cells)
		n = 0
	}
	t.sweptAt = now
	return n
}

// sweep forgets the ghosts of n buckets whose ages would soon begin anew.
func (t *ghosts) sweep(n int, now int64) {
	for range n {
		if t.next >= len(t.cells)/ghostsOfBucket {
			t.next = 0
		}
		forgetOld(t.cells[t.next*ghostsOfBucket:][:ghostsOfBucket], now)
		t.next++
	}
}

func forgetOld(b []uint64, now int64) {
	old := func(c uint64) bool { return c == 0 || ghost(c).idle(now) > ghostMost }
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
