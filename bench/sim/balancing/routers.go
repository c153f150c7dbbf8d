package simulate

import (
	"time"

	"github.com/stateful-route/stateful-route/balancing"
)

// strategyRouter routes with a Balancer, as extproc does.
type strategyRouter struct {
	balancer *balancing.Balancer
	names    []string
	index    map[string]int
	weights  []uint32
	present  []bool
	now      time.Time
}

func newStrategyRouter(strategy string, s Setting, seed uint64) (*strategyRouter, error) {
	b, err := balancing.New(balancing.Options{
		Strategy: strategy, Seed: seed, Repeatable: true, SlowStart: 10 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	r := &strategyRouter{balancer: b, index: map[string]int{}, weights: make([]uint32, s.Pods+1)}
	for i := range r.weights {
		r.names = append(r.names, podName(i))
		r.index[podName(i)] = i
		r.weights[i] = 1
	}
	return r, nil
}

func (r *strategyRouter) setPods(now time.Time, present []bool) {
	r.present, r.now = present, now
	r.balancer.SetPods(now, podFacts(present, r.weights))
}

func (r *strategyRouter) setWeights(weights map[string]uint32) {
	for name, w := range weights {
		r.weights[r.index[name]] = w
	}
	r.setPods(r.now, r.present)
}

func (r *strategyRouter) route(now time.Time, session, bound int) (int, func(time.Time, bool, time.Duration), error) {
	r.now = now
	var picked balancing.PickResult
	var err error
	if bound >= 0 {
		picked, err = r.balancer.Start(now, r.names[bound])
	} else if picked, err = r.balancer.Pick(now, sessionKey(session)); err == nil {
		bound = r.index[picked.Pod()]
	}
	if err != nil {
		return 0, nil, err
	}
	return bound, func(now time.Time, failed bool, took time.Duration) {
		kind := balancing.Success
		if failed {
			kind = balancing.Failure
		}
		picked.Done(now, balancing.Outcome{Kind: kind, ResponseTime: took})
	}, nil
}
