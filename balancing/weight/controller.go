package weight

import (
	"math"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing/slowstart"
)

// Observation is what one reporter saw of one pod since its last report.
type Observation struct {
	// Interval is the time the report covers; 0 means 1s.
	Interval time.Duration
	// Issued, Succeeded and Failed count requests in the interval.
	Issued    uint64
	Succeeded uint64
	Failed    uint64
	// InProgress is the number of requests open at its end.
	InProgress uint64
	// ResponseTime is the mean of the requests that ended; 0 means not measured.
	// It is then estimated from InProgress by Little's law.
	ResponseTime time.Duration
	// Responses is how many response times that mean is of, should others than who
	// counts the requests have taken it, of some of them or at other moments; 0
	// means of all that ended.
	Responses uint64
}

// seconds is the interval's length.
func (o *Observation) seconds() float64 {
	if o.Interval <= 0 {
		return 1
	}
	return o.Interval.Seconds()
}

// Controller turns reports of load into endpoint weights that move slowly: they say
// what a pod can do, and Envoy's LEAST_REQUEST reacts to what it is doing. A
// weight is the configured one × Scale × a factor: the peers' response time over
// the pod's own, lowered for errors and penalties.
//
// Four things keep weights from swinging, which is how reactive weights do harm.
// Response times are averaged over a long memory that is cut short only by a large
// change. A weight within the dead band of the one pushed last is left alone. A
// push changes no weight by more than a bounded step, and comes at most once in
// minInterval. And when more than half of the pods look bad, the fault is
// elsewhere, and none is lowered.
//
// A pod is never lowered so far that nobody would notice its recovery: it keeps
// about minRate requests a second. When these show that it is fast again, what was
// known of it is forgotten and its weight comes back in a few large steps.
//
// Controller is not safe for concurrent use.
type Controller struct {
	opts   Options
	pods   map[string]*podWeight
	order  []string // names, sorted: sums must not depend on map order
	rate   trafficRate
	begun  bool // SetPods was called
	pushed time.Time
	dirty  bool // the pods or their weights changed since the last push
}

// podWeight is what a Controller knows of one pod.
type podWeight struct {
	fact       statefulroute.Pod // as SetPods said last
	configured float64
	joined     time.Time // start of the slow start; zero: none
	penalty    float64   // 0 to 1; 1: none
	load       loadEstimate
	share      trafficShare
	floor      float64 // the least factor: it leaves the pod minRate
	certain    bool    // that its factor belongs at the floor
	recovering bool    // it has recovered, and its factor is on its way up
	rested     int     // calls of Next since the factor changed
	factor     float64 // as last pushed, without slow start
	out        uint32  // weight as last pushed; 0: never
}

// roomToJoin is left of the largest sum for rounding, and for pods that join
// before the next push: they count 1 each until then.
const roomToJoin = 1 << 20

// noiseSigmas widens the dead band to this many standard errors of a pod's
// response time, so that noise hardly ever moves a weight.
const noiseSigmas = 2.5

// sureNoise is the noise of four requests. A pod whose target is the floor
// took more than five times as long as its peers: that it is more than twice as slow
// is beyond noiseSigmas of it.
const sureNoise = 0.5

// leaveFloor is how many times the floor a pod's target must be for its
// factor to leave that: about a quarter faster, to the power of farSlowerPower.
const leaveFloor = 4

// lowered is the factor below which a pod's recovery is looked for.
const lowered = 0.5

// New returns a Controller without pods.
func New(opts Options) *Controller {
	if opts.Scale == 0 {
		opts.Scale = defaultScale
	}
	return &Controller{opts: opts, pods: map[string]*podWeight{}}
}

// SetPods replaces the set of pods and their configured weights; what is known of
// a pod that stays is kept. A weight of 0 counts as 1.
func (w *Controller) SetPods(now time.Time, pods []statefulroute.Pod) {
	keep := make(map[string]*podWeight, len(pods))
	for _, fact := range pods {
		p, known := w.pods[fact.Name]
		if !known {
			p = &podWeight{penalty: 1, factor: w.meanFactor(), floor: minFactor, share: newTrafficShare()}
			if w.begun && w.opts.SlowStart > 0 {
				p.joined = now
			}
			w.dirty = true
		} else if w.opts.SlowStart > 0 && slowstart.Starts(p.fact, fact) {
			p.joined, w.dirty = now, true
		}
		p.fact = fact
		if configured := float64(max(fact.Weight, 1)); p.configured != configured {
			p.configured = configured
			w.dirty = true
		}
		keep[fact.Name] = p
	}
	w.dirty = w.dirty || len(keep) != len(w.pods)
	w.pods = keep
	w.order = w.order[:0]
	for name := range keep {
		w.order = append(w.order, name)
	}
	slices.Sort(w.order)
	w.begun = true
}

// meanFactor is what a pod of which nothing is known starts from: one report is no
// ground to set it apart from the others.
func (w *Controller) meanFactor() float64 {
	if len(w.pods) == 0 {
		return 1
	}
	var sum float64
	for _, name := range w.order {
		sum += w.pods[name].factor
	}
	return sum / float64(len(w.order))
}

// Observe adds a report of a pod's load; an unknown pod is ignored. Reports of
// several reporters add up.
func (w *Controller) Observe(now time.Time, pod string, o Observation) {
	if p, ok := w.pods[pod]; ok {
		p.load.add(now, o)
		p.share.add(o)
	}
}

// Penalty lowers a pod's weight by a factor from 0 to 1, for a finding that the
// load reports do not show; 1 ends it. An unknown pod and a factor that is not a
// number are ignored.
func (w *Controller) Penalty(pod string, factor float64) {
	if p, ok := w.pods[pod]; ok && !math.IsNaN(factor) {
		p.penalty = min(max(factor, 0), 1)
	}
}

// Next returns every pod's weight, at least 1 each and together at most 2^32-1,
// and whether they should be pushed. It is to be called about once a second.
// Without push the weights are those of the last one, but for pods that came or
// went since.
func (w *Controller) Next(now time.Time) (weights map[string]uint32, push bool) {
	w.learnShares(now)
	for _, name := range w.order {
		p := w.pods[name]
		if p.load.fold(now, p.factor < lowered) {
			p.recovering = true
		}
	}
	due := w.pushed.IsZero() || now.Sub(w.pushed) >= minInterval
	if due {
		w.advance(now)
	}
	if due || w.dirty {
		w.dirty = w.render(now) || w.dirty
	}
	if push = due && w.dirty; push {
		w.pushed, w.dirty = now, false
	}
	weights = make(map[string]uint32, len(w.pods))
	for name, p := range w.pods {
		weights[name] = p.out
	}
	return weights, push
}

// advance moves the factors a step towards their targets.
func (w *Controller) advance(now time.Time) {
	for i, target := range w.targets(now) {
		w.step(w.pods[w.order[i]], target)
	}
}

// render turns the factors into weights and reports whether any changed.
func (w *Controller) render(now time.Time) (changed bool) {
	exact := make([]float64, len(w.order))
	var sum float64
	for i, name := range w.order {
		p := w.pods[name]
		exact[i] = p.configured * float64(w.opts.Scale) * p.factor * w.ramp(now, p)
		sum += exact[i]
	}
	shrink := 1.0
	if limit := float64(math.MaxUint32 - roomToJoin); sum > limit {
		shrink = limit / sum
	}
	for i, name := range w.order {
		p := w.pods[name]
		out := uint32(max(math.Round(exact[i]*shrink), 1))
		changed = changed || out != p.out
		p.out = out
	}
	return changed
}

// step moves p's factor towards its target, unless it is within the dead band or
// the noise.
func (w *Controller) step(p *podWeight, target float64) {
	noise := p.load.noise()
	// That a pod is far off stays believed while its share falls, and with it the
	// number of requests that it is measured on.
	p.certain = target <= p.floor && (p.certain || noise <= sureNoise)
	p.recovering = p.recovering && !p.certain
	if p.factor < 1.01*p.floor && target < leaveFloor*p.floor && !p.recovering {
		target = p.floor
	}
	exact := p.exactTarget(target)
	band, largest := deadBand, float64(maxStep)
	switch {
	case p.recovering:
		// It has shown that it is another pod than it was: until the few requests say
		// otherwise it is taken for one like its peers.
		if math.Abs(math.Log(target)) <= math.Log1p(noiseSigmas*noise) {
			target = max(target, 1)
		}
		largest, exact = returnStep, true
	case !exact:
		if target < farSlower {
			noise *= farSlowerPower // a power multiplies relative errors
		}
		band = max(band, noiseSigmas*noise)
	}
	change := target / p.factor
	if math.Abs(math.Log(change)) <= math.Log1p(band) {
		p.recovering = false
		return
	}
	// Stop half a band short: a move set off by noise is then a small one, and the
	// next noise is again well inside.
	switch short := math.Sqrt(1 + band); {
	case exact:
	case change > 1:
		change /= short
	default:
		change *= short
	}
	p.factor *= min(max(change, 1/largest), largest)
	p.rested = 0
}

// exactTarget reports whether a target is no measurement, so without noise.
func (p *podWeight) exactTarget(target float64) bool {
	return p.penalty < 1 || target == 1 || target == p.floor || p.certain
}

func (w *Controller) ramp(now time.Time, p *podWeight) float64 {
	if p.joined.IsZero() {
		return 1
	}
	return slowstart.Ramp(float64(now.Sub(p.joined)), float64(w.opts.SlowStart))
}
