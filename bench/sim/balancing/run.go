package simulate

import (
	"fmt"
	"time"
)

// router is a policy at work in one replica.
type router interface {
	// route sends a request of a session to a pod; bound is the session's pod, -1
	// when it has none. done must be called when the request ends.
	route(now time.Time, session, bound int) (pod int, done func(now time.Time, failed bool, took time.Duration), err error)
	// setPods tells which pods are in the set.
	setPods(now time.Time, present []bool)
}

// epoch is the simulated time zero.
var epoch = time.Unix(1_000_000_000, 0)

// Run replays the trace with one of [Policies].
func Run(s Setting, trace Trace, policy string) (Result, error) {
	s = s.withDefaults()
	p, err := newPolicy(policy, s)
	if err != nil {
		return Result{}, err
	}
	r := &run{
		setting: s, trace: trace, policy: p, servers: newServers(s),
		bound: map[int]int{}, moved: map[int]bool{}, fresh: map[int]bool{}, ends: make([]ending, len(trace)),
		timed: make([]bool, len(trace)),
	}
	if err := r.replay(); err != nil {
		return Result{}, fmt.Errorf("%s with %s: %w", s.Name(), policy, err)
	}
	return r.result(policy), nil
}

type ending func(now time.Time, failed bool, took time.Duration)

type run struct {
	setting Setting
	trace   Trace
	policy  *policy
	servers []*server
	events  events
	ends    []ending
	timed   []bool // requests whose response time is reported

	bound map[int]int // session to pod, shared by the replicas
	moved map[int]bool
	fresh map[int]bool // sessions placed in the measured time

	times    []time.Duration
	newTimes []time.Duration // of fresh sessions
	errors   int
	placed   int
	away     int
}

func (r *run) replay() error {
	set := r.present(0)
	r.policy.setPods(epoch, set)
	tick := time.Second
	for i, req := range r.trace {
		for tick <= req.At {
			r.finish(tick)
			r.policy.tick(epoch.Add(tick), tick >= r.setting.start())
			tick += time.Second
		}
		r.finish(req.At)
		if r.churned(req.At, set) {
			set = r.present(req.At)
			r.policy.setPods(epoch.Add(req.At), set)
		}
		if err := r.arrive(i, set); err != nil {
			return err
		}
	}
	r.finish(forever)
	return nil
}

func (r *run) present(at time.Duration) []bool {
	set := make([]bool, len(r.servers))
	for i := range set {
		set[i] = r.setting.present(i, at)
	}
	return set
}

func (r *run) churned(at time.Duration, set []bool) bool {
	last := len(set) - 1
	return set[last] != r.setting.present(last, at) ||
		set[r.setting.faulty()] != r.setting.present(r.setting.faulty(), at)
}

func (r *run) arrive(i int, set []bool) error {
	req := r.trace[i]
	now := epoch.Add(req.At)
	bound, known := r.bound[req.Session]
	if !known || !set[bound] {
		if known {
			r.moved[req.Session] = true
		}
		bound = -1
	}
	pod, done, err := r.policy.replicas[req.Replica].route(now, req.Session, bound)
	if err != nil {
		return err
	}
	r.ends[i] = done
	if r.setting.Sticky && bound < 0 {
		r.bound[req.Session] = pod
		if req.At >= r.setting.start() {
			r.placed++
			r.fresh[req.Session] = true
			if home, ok := r.policy.home(req.Session); ok && home != pod {
				r.away++
			}
		}
	}
	r.policy.counts[pod].issued++
	r.policy.counts[pod].active++
	r.timed[i] = r.policy.sampled(req, pod)
	r.enter(i, pod, req.At)
	return nil
}

func (r *run) enter(i, pod int, at time.Duration) {
	p := r.servers[pod]
	switch {
	case p.fails(at):
		r.events.push(at+failingTime, ^i, pod)
	case p.busy < p.slots:
		r.begin(i, pod, at)
	default:
		p.queue = append(p.queue, i)
	}
}

func (r *run) begin(i, pod int, at time.Duration) {
	p := r.servers[pod]
	took := p.takes(at, r.trace[i].Work)
	p.busy++
	if at >= r.setting.start() {
		p.worked += took
	}
	r.events.push(at+took, i, pod)
}

// finish handles all that ends up to a moment. A failed request is marked by the
// complement of its index: it held no slot.
func (r *run) finish(until time.Duration) {
	for r.events.before(until) {
		e := r.events.pop()
		failed := e.request < 0
		i := e.request
		if failed {
			i = ^i
		} else if p := r.servers[e.server]; len(p.queue) > 0 {
			p.busy--
			next := p.queue[0]
			p.queue = p.queue[1:]
			r.begin(next, e.server, e.at)
		} else {
			p.busy--
		}
		r.end(i, e.server, e.at, failed)
	}
}

func (r *run) end(i, pod int, at time.Duration, failed bool) {
	arrived := r.trace[i].At
	r.ends[i](epoch.Add(at), failed, at-arrived)
	r.ends[i] = nil
	c := &r.policy.counts[pod]
	c.active--
	if failed {
		c.failed++
	} else {
		c.succeeded++
		if r.timed[i] {
			c.timed++
			c.time += at - arrived
		}
	}
	if arrived < r.setting.start() {
		return
	}
	r.times = append(r.times, at-arrived)
	if r.fresh[r.trace[i].Session] {
		r.newTimes = append(r.newTimes, at-arrived)
	}
	if failed {
		r.errors++
	}
}

func (r *run) result(name string) Result {
	out := Result{Policy: name}
	out.measure(r.times, r.servers)
	out.setNewTimes(r.newTimes)
	out.Errors = float64(r.errors) / float64(max(len(r.times), 1))
	out.Broken = float64(len(r.moved)) / float64(max(len(r.bound), 1))
	out.Away = float64(r.away) / float64(max(r.placed, 1))
	out.WeightPushes, out.WeightSpread = r.policy.weightReport()
	return out
}
