package balancing

import (
	"math"
	"sync"
)

// weightedRoundRobin is nginx's smooth weighted round robin: each turn adds every
// pod's weight to its score, takes the pod of the highest and subtracts the sum of
// the weights from it. Over one cycle (the sum of the weights over their greatest
// common divisor) every pod comes exactly in proportion to its weight, spread
// evenly. A pod without room takes no part. A turn leaves Σ score as it was.
type weightedRoundRobin struct {
	mu    sync.Mutex
	of    *snapshot
	score []int64 // of the pods of the snapshot
	skip  int     // turns to drop at first, so that replicas do not march in step
}

const (
	// weightScale leaves room for a slow start's fraction of a weight of 1.
	weightScale = 1024
	// replicaOffsets is the number of different places to start at.
	replicaOffsets = 61
)

func newWeightedRoundRobin(opts Options) (Strategy, error) {
	return &weightedRoundRobin{skip: int(opts.Seed % replicaOffsets)}, nil
}

func (w *weightedRoundRobin) Pick(_ string, pods View) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of != pods.snap {
		w.follow(pods.snap)
	}
	for ; w.skip > 0; w.skip-- {
		w.turn(pods)
	}
	return w.turn(pods)
}

func (w *weightedRoundRobin) turn(pods View) int {
	s, score := pods.snap, w.score
	best, most, sum := -1, int64(math.MinInt64), int64(0)
	for i, joined := range s.joined {
		if !s.eligible(i) {
			continue
		}
		weight := int64(s.raw[i]) * weightScale
		if joined != 0 {
			weight = max(int64(float64(weight)*pods.rampOf(i)), 1)
		}
		sum += weight
		if score[i] += weight; score[i] > most {
			best, most = i, score[i]
		}
	}
	if best >= 0 {
		score[best] -= sum
	}
	return best
}

// follow keeps the scores of the pods that stay: a new set of pods must not start
// the round again, or frequent changes would always favour those that come first.
func (w *weightedRoundRobin) follow(s *snapshot) {
	known := make(map[*pod]int64, len(w.score))
	for i, score := range w.score {
		known[w.of.pods[i]] = score
	}
	w.of, w.score = s, make([]int64, len(s.pods))
	for i, p := range s.pods {
		w.score[i] = known[p]
	}
}
