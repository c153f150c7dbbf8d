package simulate

import (
	"math"
	"slices"
	"strconv"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/balancing/weight"
)

// Policies that are not strategies of package balancing: Envoy's own LEAST_REQUEST
// with equal weights and with those of weight.Controller, and the smooth weighted
// round robin told the true speeds.
const (
	EnvoyLeastRequest = "envoy_least_request"
	EDSLeastRequest   = "eds_least_request"
	EDSSampled        = "eds_sampled" // as eds_least_request, with response times that extprocs sample
	EDSRoundRobin     = "eds_round_robin"
	StaticWeights     = "static_weights"
)

// Policies lists what Run knows: every built-in strategy, then the others.
func Policies() []string {
	return append(balancing.NewRegistry().Names(), StaticWeights, EnvoyLeastRequest, EDSLeastRequest, EDSSampled, EDSRoundRobin)
}

// policy is a policy over all replicas.
type policy struct {
	setting  Setting
	replicas []router
	counts   []counts // by pod, since the last tick
	weights  *weight.Controller
	pushed   []map[string]uint32
	pushes   int
	samplers map[samplerKey]*sampler // nil: response times are not reported
}

type counts struct {
	issued, succeeded, failed, active, timed uint64
	time                                     time.Duration // of the timed ones
}

func newPolicy(name string, s Setting) (*policy, error) {
	p := &policy{setting: s, counts: make([]counts, s.Pods+1)}
	if slices.Contains([]string{EDSLeastRequest, EDSSampled, EDSRoundRobin}, name) {
		p.weights = weight.New(weight.Options{SlowStart: 10 * time.Second})
	}
	if name == EDSSampled {
		p.samplers = map[samplerKey]*sampler{}
	}
	for i := range s.Replicas {
		r, err := newRouter(name, s, uint64(i))
		if err != nil {
			return nil, err
		}
		p.replicas = append(p.replicas, r)
	}
	return p, nil
}

func newRouter(name string, s Setting, replica uint64) (router, error) {
	seed := s.Seed*1000 + replica
	switch name {
	case EnvoyLeastRequest, EDSLeastRequest, EDSSampled:
		return newEnvoyRouter(s, seed), nil
	case EDSRoundRobin, StaticWeights:
		r, err := newStrategyRouter("weighted_round_robin", s, seed)
		if err == nil && name == StaticWeights {
			for i, speed := range s.speeds() {
				r.weights[i] = uint32(speed * 1000)
			}
		}
		return r, err
	}
	return newStrategyRouter(name, s, seed)
}

func (p *policy) setPods(now time.Time, present []bool) {
	for _, r := range p.replicas {
		r.setPods(now, present)
	}
	if p.weights != nil {
		p.weights.SetPods(now, podFacts(present, nil))
		p.push(p.weights.Next(now))
	}
}

// tick is a report of every pod's load, and a push of weights if there is one.
func (p *policy) tick(now time.Time, measured bool) {
	if p.weights == nil {
		return
	}
	for i := range p.counts {
		c := &p.counts[i]
		o := weight.Observation{
			Interval: time.Second, Issued: c.issued, Succeeded: c.succeeded, Failed: c.failed, InProgress: c.active,
		}
		if c.timed > 0 {
			o.ResponseTime = c.time / time.Duration(c.timed)
		}
		p.weights.Observe(now, podName(i), o)
		*c = counts{active: c.active}
	}
	weights, push := p.weights.Next(now)
	p.push(weights, push)
	if measured {
		p.pushed = append(p.pushed, weights)
		if push {
			p.pushes++
		}
	}
}

// samplerKey tells the samplers of a policy apart: an extproc has one for the unbound
// requests of a service, and one for the bound ones of each pod.
type samplerKey struct{ replica, pod int }

// sampler decides whose response an extproc looks at, with extproc's own figures: one
// in 25 ms, and up to 8 at once after a pause.
type sampler struct{ due time.Duration }

const (
	sampleEvery = 25 * time.Millisecond
	sampleBurst = 8
)

// sampled reports whether the response time of a request to pod is reported.
func (p *policy) sampled(req Request, pod int) bool {
	if p.samplers == nil {
		return false
	}
	key := samplerKey{req.Replica, -1}
	if p.setting.Sticky {
		key.pod = pod
	}
	s := p.samplers[key]
	if s == nil {
		s = &sampler{}
		p.samplers[key] = s
	}
	next := max(req.At, s.due) + sampleEvery
	if next-req.At > sampleBurst*sampleEvery {
		return false
	}
	s.due = next
	return true
}

// weighted is a router that takes pushed weights.
type weighted interface {
	setWeights(weights map[string]uint32)
}

func (p *policy) push(weights map[string]uint32, push bool) {
	if !push {
		return
	}
	for _, r := range p.replicas {
		r.(weighted).setWeights(weights)
	}
}

// weightReport returns the number of pushes, and how far weights strayed from
// their mean in the second half of the measured time.
func (p *policy) weightReport() (pushes int, spread float64) {
	half := p.pushed[len(p.pushed)/2:]
	strays, sum, pods := 0.0, 0.0, 0.0
	for i := range p.counts {
		if mean, stray, ok := strayOf(half, podName(i)); ok {
			strays = max(strays, stray)
			sum += mean
			pods++
		}
	}
	if pods == 0 {
		return p.pushes, 0
	}
	return p.pushes, strays * pods / sum
}

// strayOf returns a pod's mean weight and the largest distance from it.
func strayOf(pushed []map[string]uint32, pod string) (mean, stray float64, ok bool) {
	var sum, n float64
	lowest, highest := math.Inf(1), 0.0
	for _, weights := range pushed {
		if w, in := weights[pod]; in {
			sum += float64(w)
			n++
			lowest, highest = min(lowest, float64(w)), max(highest, float64(w))
		}
	}
	if n == 0 {
		return 0, 0, false
	}
	mean = sum / n
	return mean, max(highest-mean, mean-lowest), true
}

// home returns the session's home, for strategies that have one.
func (p *policy) home(session int) (pod int, ok bool) {
	r, ok := p.replicas[0].(*strategyRouter)
	if !ok {
		return 0, false
	}
	name, ok := r.balancer.Home(sessionKey(session))
	return podIndex(name), ok
}

func podName(i int) string          { return "pod-" + strconv.Itoa(i) }
func sessionKey(session int) string { return "session-" + strconv.Itoa(session) }

func podIndex(name string) int {
	i, err := strconv.Atoi(name[len("pod-"):])
	if err != nil {
		panic("simulate: not a pod's name: " + name)
	}
	return i
}

// podFacts lists the present pods, with weights where given.
func podFacts(present []bool, weights []uint32) []statefulroute.Pod {
	var pods []statefulroute.Pod
	for i, in := range present {
		if !in {
			continue
		}
		pod := statefulroute.Pod{Name: podName(i), Weight: 1}
		if weights != nil {
			pod.Weight = weights[i]
		}
		pods = append(pods, pod)
	}
	return pods
}
