package evict

// queue is references to entries in chunks, so that it needs little more memory
// than those. Entries that lost their interest stay in it until they are met.
type queue struct {
	chunks [][]ref
	head   int // of the first chunk
	n      int
}

// ref is a slot, and bits of the id of the entry that was in it: slots are used
// again.
type ref struct{ slot, tag uint32 }

func refTo(e *Entry) ref { return ref{e.Slot, uint32(e.ID)} }

// entry returns what is in the slot, nil if that is another entry by now.
func (r ref) entry(of Entries) *Entry {
	if e := of.At(r.slot); refTo(e).tag == r.tag && e.Group != 0 {
		return e
	}
	return nil
}

const queueChunk = 128

func (q *queue) len() int { return q.n }

func (q *queue) push(r ref) {
	last := len(q.chunks) - 1
	if last < 0 || len(q.chunks[last]) == queueChunk {
		q.chunks = append(q.chunks, make([]ref, 0, queueChunk))
		last++
	}
	q.chunks[last] = append(q.chunks[last], r)
	q.n++
}

// pop takes the oldest out; the queue must not be empty.
func (q *queue) pop() ref {
	r := q.chunks[0][q.head]
	q.n--
	if q.head++; q.head == len(q.chunks[0]) {
		q.chunks[0] = nil
		q.chunks, q.head = q.chunks[1:], 0
	}
	return r
}

// relocate replaces old slots by the new ones; those of entries that are gone have
// none.
func (q *queue) relocate(slots []uint32) {
	for _, chunk := range q.chunks {
		for i := range chunk {
			chunk[i].slot = slots[chunk[i].slot]
		}
	}
}

// first returns the oldest entry that is of interest, without taking it out,
// and forgets the older ones that are not; nil if there is none.
func (q *queue) first(interesting func(ref) *Entry) *Entry {
	for q.n > 0 {
		if e := interesting(q.chunks[0][q.head]); e != nil {
			return e
		}
		q.pop()
	}
	return nil
}

// keep drops every reference that is of no interest.
func (q *queue) keep(interesting func(ref) *Entry) {
	var kept queue
	for q.n > 0 {
		if r := q.pop(); interesting(r) != nil {
			kept.push(r)
		}
	}
	*q = kept
}
