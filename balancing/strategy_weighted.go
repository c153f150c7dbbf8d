package balancing

import (
	"sync"
	"sync/atomic"
)

// weightedRoundRobin is nginx's smooth weighted round robin: each turn adds every
// pod's weight to its score, takes the highest and subtracts the sum of the
// weights from it. Over one cycle (the sum of the weights over their greatest
// common divisor) every pod comes exactly in proportion to its weight, spread
// evenly. The turns are computed a block at a time, so that picks share a cursor
// and not a lock.
type weightedRoundRobin struct {
	block atomic.Pointer[turns]
	mu    sync.Mutex // serialises computing the next block
	skip  int        // turns to drop at first, so that replicas do not march in step
}

// turns is a block of precomputed picks among the pods of one snapshot.
type turns struct {
	of     *snapshot
	weight []int64
	before []int64 // the scores before the first turn of order
	after  []int64 // and after the last
	order  []int32
	cursor atomic.Int64
}

const (
	blockTurns = 256
	// weightScale leaves room for a slow start's fraction of a weight of 1.
	weightScale = 1024
	// replicaOffsets is the number of different places to start at.
	replicaOffsets = 61
)

func newWeightedRoundRobin(opts Options) (Strategy, error) {
	w := &weightedRoundRobin{skip: int(opts.Seed % replicaOffsets)}
	w.block.Store(&turns{})
	return w, nil
}

func (w *weightedRoundRobin) Pick(_ string, pods View) int {
	for range 2 * pods.Len() {
		if i := w.turn(pods); pods.Eligible(i) {
			return i
		}
	}
	return -1
}

func (w *weightedRoundRobin) turn(pods View) int {
	for {
		b := w.block.Load()
		if b.of == pods.snap {
			if c := b.cursor.Add(1) - 1; c < int64(len(b.order)) {
				return int(b.order[c])
			}
		}
		w.advance(b, pods)
	}
}

// advance replaces block b, which is used up or of another snapshot, unless
// another goroutine has done so meanwhile.
func (w *weightedRoundRobin) advance(b *turns, pods View) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.block.Load() != b {
		return
	}
	next := &turns{of: pods.snap, weight: make([]int64, pods.Len())}
	for i := range next.weight {
		next.weight[i] = max(int64(float64(pods.snap.raw[i])*weightScale*pods.rampOf(i)), 1)
	}
	switch {
	case b.of == pods.snap:
		next.before = b.after
	case b.of == nil:
		next.before = make([]int64, pods.Len())
		runTurns(next.before, next.weight, w.skip)
	default:
		next.before = b.carry(pods.snap)
	}
	next.after = append([]int64(nil), next.before...)
	next.order = runTurns(next.after, next.weight, blockTurns)
	w.block.Store(next)
}

// runTurns returns the next n turns and moves the scores past them.
func runTurns(score, weight []int64, n int) []int32 {
	var sum int64
	for _, w := range weight {
		sum += w
	}
	order := make([]int32, n)
	for t := range order {
		best := 0
		for i, w := range weight {
			score[i] += w
			if score[i] > score[best] {
				best = i
			}
		}
		score[best] -= sum
		order[t] = int32(best)
	}
	return order
}

// carry returns the scores at the turn that b had reached, for the pods of s: a
// new set of pods must not start the round again, or frequent changes would always
// favour the pods that come first in it.
func (b *turns) carry(s *snapshot) []int64 {
	score := append([]int64(nil), b.before...)
	runTurns(score, b.weight, int(min(b.cursor.Load(), int64(len(b.order)))))
	byPod := make(map[*pod]int64, len(score))
	for i, p := range b.of.pods {
		byPod[p] = score[i]
	}
	out := make([]int64, len(s.pods))
	for i, p := range s.pods {
		out[i] = byPod[p]
	}
	return out
}
