package affinity

// fifo is a queue of entries in chunks, so that it needs little more memory
// than its pointers. Entries that lost their interest stay in it until they
// are met.
type fifo struct {
	chunks [][]*Entry
	head   int // of the first chunk
	n      int
}

const fifoChunk = 128

func (f *fifo) len() int { return f.n }

func (f *fifo) push(e *Entry) {
	last := len(f.chunks) - 1
	if last < 0 || len(f.chunks[last]) == fifoChunk {
		f.chunks = append(f.chunks, make([]*Entry, 0, fifoChunk))
		last++
	}
	f.chunks[last] = append(f.chunks[last], e)
	f.n++
}

// pop takes the oldest entry out; the queue must not be empty.
func (f *fifo) pop() *Entry {
	e := f.chunks[0][f.head]
	f.chunks[0][f.head] = nil
	f.n--
	if f.head++; f.head == len(f.chunks[0]) {
		f.chunks[0] = nil
		f.chunks, f.head = f.chunks[1:], 0
	}
	return e
}

// first returns the oldest entry that is of interest, without taking it out,
// and forgets the older ones that are not; nil if there is none.
func (f *fifo) first(interesting func(*Entry) bool) *Entry {
	for f.n > 0 {
		if e := f.chunks[0][f.head]; interesting(e) {
			return e
		}
		f.pop()
	}
	return nil
}

// keep drops every entry that is of no interest.
func (f *fifo) keep(interesting func(*Entry) bool) {
	var kept fifo
	for f.n > 0 {
		if e := f.pop(); interesting(e) {
			kept.push(e)
		}
	}
	*f = kept
}
