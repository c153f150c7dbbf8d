package balancing

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// weightedRoundRobin is nginx's smooth weighted round robin: each turn adds every
// pod's weight to its score, takes the highest and subtracts the sum of the
// weights from it. Over one cycle (the sum of the weights over their greatest
// common divisor) every pod comes exactly in proportion to its weight, spread
// evenly. The turns are computed a block at a time, so that picks share a cursor
// and not a lock; whoever takes a block's middle turn computes the next one, and the
// others go on meanwhile.
type weightedRoundRobin struct {
	block atomic.Pointer[turns]
	mu    sync.Mutex // serialises the change to another block
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
	next   atomic.Pointer[turns] // the block after it, once it is computed
}

const (
	leastBlock = 256 // turns; among more pods as many as there are pods
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
				if c == int64(len(b.order)/2) {
					b.next.Store(newTurns(b.after, pods))
				}
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
	next := b.next.Load()
	switch {
	case b.of == pods.snap && next != nil:
	case b.of == pods.snap: // whoever computes it has not finished
		next = newTurns(b.after, pods)
	case b.of == nil:
		next = newTurns(make([]int64, pods.Len()), pods)
		next = newTurns(next.at(w.skip), pods)
	default:
		next = newTurns(b.carry(pods.snap), pods)
	}
	w.block.Store(next)
}

// newTurns computes the block that begins with the given scores.
func newTurns(score []int64, pods View) *turns {
	t := &turns{of: pods.snap, weight: make([]int64, pods.Len()), before: score}
	for i := range t.weight {
		t.weight[i] = max(int64(float64(pods.snap.raw[i])*weightScale*pods.rampOf(i)), 1)
	}
	t.after = slices.Clone(score)
	t.order = runTurns(t.after, t.weight, max(leastBlock, pods.Len()))
	return t
}

// at returns the scores after n turns of the block.
func (b *turns) at(n int) []int64 {
	score := slices.Clone(b.before)
	runTurns(score, b.weight, n)
	return score
}

// runTurns returns the next n turns and moves the scores past them.
func runTurns(score, weight []int64, n int) []int32 {
	var sum int64
	for _, w := range weight {
		sum += w
	}
	order := make([]int32, n)
	if groups := groupByWeight(score, weight); groups != nil {
		groupedTurns(order, groups, score, weight, sum)
	} else {
		plainTurns(order, score, weight, sum)
	}
	return order
}

// fewGroups is how many pods there must be for each weight that occurs before
// comparing groups is faster than comparing pods.
const fewGroups = 8

// plainTurns is the definition.
func plainTurns(order []int32, score, weight []int64, sum int64) {
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
}

// groupedTurns gives the same turns. Of pods of equal weight the one with the highest
// score is the same at every turn until it is taken, so each such group is a heap,
// and a turn compares the groups only. Kept without what a turn adds to all of a
// group, a score changes only when its pod is taken.
func groupedTurns(order []int32, groups []weightGroup, score, weight []int64, sum int64) {
	for t := range order {
		best, most := 0, int64(math.MinInt64)
		for g := range groups {
			now := groups[g].score + int64(t+1)*groups[g].weight
			if now > most || now == most && groups[g].pods[0] < groups[best].pods[0] {
				best, most = g, now
			}
		}
		order[t] = groups[best].take(score, sum)
	}
	for i, w := range weight {
		score[i] += int64(len(order)) * w
	}
}

// weightGroup is the pods of one weight, as a heap: the highest score first, of
// equal ones the lowest index.
type weightGroup struct {
	weight int64
	score  int64 // of the first
	pods   []int32
}

// groupByWeight returns the pods by weight, nil when there are too many groups.
func groupByWeight(score, weight []int64) []weightGroup {
	var groups []weightGroup
	at := map[int64]int{}
	for i, w := range weight {
		g, ok := at[w]
		if !ok {
			if g = len(groups); fewGroups*(g+1) > len(weight) {
				return nil
			}
			at[w] = g
			groups = append(groups, weightGroup{weight: w})
		}
		groups[g].pods = append(groups[g].pods, int32(i))
	}
	for i := range groups {
		g := &groups[i]
		for j := len(g.pods)/2 - 1; j >= 0; j-- {
			g.sink(score, j)
		}
		g.score = score[g.pods[0]]
	}
	return groups
}

// take returns the group's first pod and lowers its score by the sum of all weights.
func (g *weightGroup) take(score []int64, sum int64) int32 {
	first := g.pods[0]
	score[first] -= sum
	g.sink(score, 0)
	g.score = score[g.pods[0]]
	return first
}

// sink moves the pod at place i down to where it belongs in the heap.
func (g *weightGroup) sink(score []int64, i int) {
	before := func(a, b int32) bool { return score[a] > score[b] || score[a] == score[b] && a < b }
	for {
		child := 2*i + 1
		if child >= len(g.pods) {
			return
		}
		if child+1 < len(g.pods) && before(g.pods[child+1], g.pods[child]) {
			child++
		}
		if !before(g.pods[child], g.pods[i]) {
			return
		}
		g.pods[i], g.pods[child] = g.pods[child], g.pods[i]
		i = child
	}
}

// carry returns the scores at the turn that b had reached, for the pods of s: a
// new set of pods must not start the round again, or frequent changes would always
// favour the pods that come first in it.
func (b *turns) carry(s *snapshot) []int64 {
	score := b.at(int(min(b.cursor.Load(), int64(len(b.order)))))
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
