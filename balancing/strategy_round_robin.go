package balancing

import "sync/atomic"

// roundRobin takes the pods in turn, whatever their weight, passing over those
// without room.
type roundRobin struct {
	next atomic.Uint64
}

func newRoundRobin(opts Options) (Strategy, error) {
	r := &roundRobin{}
	r.next.Store(mix(opts.Seed) >> 1) // replicas start at different pods
	return r, nil
}

func (r *roundRobin) Pick(_ string, pods View) int {
	n := pods.Len()
	for range n {
		if i := int(r.next.Add(1) % uint64(n)); pods.Eligible(i) {
			return i
		}
	}
	return -1
}
