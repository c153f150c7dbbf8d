package simulate

import (
	"container/heap"
	"time"
)

// event is the end of a request's service.
type event struct {
	at      time.Duration
	seq     int // breaks ties, so that runs repeat
	request int
	server  int
}

type events struct {
	heap eventHeap
	seq  int
}

func (e *events) push(at time.Duration, request, server int) {
	e.seq++
	heap.Push(&e.heap, event{at: at, seq: e.seq, request: request, server: server})
}

func (e *events) pop() event { return heap.Pop(&e.heap).(event) }

// before reports whether an event comes before a moment.
func (e *events) before(at time.Duration) bool { return len(e.heap) > 0 && e.heap[0].at <= at }

type eventHeap []event

func (h eventHeap) Len() int      { return len(h) }
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h *eventHeap) Push(x any) { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
