package balancing

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/monotonic"
)

// Options configure a Balancer.
type Options struct {
	// Strategy is a name in Registry; it must be set.
	Strategy string
	// Registry holds the strategies; nil means the built-in ones.
	Registry *Registry
	// MaxConnections caps a pod's in-flight requests for picks; 0 means no cap.
	// A bound request ([Balancer.Start]) goes to its pod whatever the cap.
	MaxConnections uint32
	// MaxSessions caps a pod's sessions for picks; 0 means no cap. Sessions are
	// counted by the caller ([Balancer.AddSessions]) after a pick, so concurrent
	// picks can pass the cap by their number. See [Balancer.PickEvicting] for what
	// can be done when all pods have as many.
	MaxSessions uint32
	// ResponseTimeWindow is how long what is known of a quiet pod lasts: its
	// response time and error rate fade to a sixteenth over the window, so that a
	// pod that was slow or failing is tried again. 0 means 30s.
	ResponseTimeWindow time.Duration
	// SlowStart is how long a pod takes to reach its full weight that joins later
	// than the first SetPods, serves again after it was unhealthy or in maintenance,
	// or has got another address; 0 means at once. A pod that was only drained never
	// stopped serving and has its full weight at once. A home does not wait:
	// replicas that saw the pod at different times must agree on it.
	SlowStart time.Duration
	// Seed starts the random choices. Replicas should be given different seeds,
	// else they make the same choices at the same time.
	Seed uint64
	// Repeatable makes the same calls with the same Seed choose the same pods, for
	// simulations. Without it concurrent picks draw from separate sequences, which
	// costs less on many cores.
	Repeatable bool
}

const defaultResponseTimeWindow = 30 * time.Second

func (o Options) validate() error {
	if o.ResponseTimeWindow < 0 {
		return fmt.Errorf("negative response time window %v", o.ResponseTimeWindow)
	}
	if o.SlowStart < 0 {
		return fmt.Errorf("negative slow start %v", o.SlowStart)
	}
	return nil
}

// Balancer picks pods of one service. Its methods may be called concurrently.
type Balancer struct {
	repeatable bool
	flights    sync.Pool // of *flight
	made       atomic.Uint64
	shards     [shards]shard

	clock monotonic.Clock // of all that is kept as nanoseconds

	snap atomic.Pointer[snapshot]
	mu   sync.Mutex // serialises SetPods and Update, and guards the rest
	opts Options
}

// New returns a balancer without pods. An unknown strategy is an error that lists
// the known ones.
func New(opts Options) (*Balancer, error) {
	if opts.Registry == nil {
		opts.Registry = NewRegistry()
	}
	b := &Balancer{repeatable: opts.Repeatable, opts: opts}
	for i := range b.shards {
		b.shards[i].seed = mix(mix(opts.Seed) + uint64(i))
	}
	b.flights.New = b.newFlight
	b.snap.Store(&snapshot{})
	if err := b.Update(time.Time{}, opts); err != nil {
		return nil, err
	}
	return b, nil
}

// Update changes the options and keeps what is known of the pods: requests in
// flight, sessions, response times. Registry, Seed and Repeatable stay those of New.
// Options that New would refuse change nothing.
func (b *Balancer) Update(now time.Time, opts Options) error {
	if err := opts.validate(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	opts.Registry, opts.Seed, opts.Repeatable = b.opts.Registry, b.opts.Seed, b.opts.Repeatable
	if opts.ResponseTimeWindow == 0 {
		opts.ResponseTimeWindow = defaultResponseTimeWindow
	}
	strategy, err := opts.Registry.build(opts)
	if err != nil {
		return err
	}
	b.opts = opts
	old := b.snap.Load()
	if old.byName == nil { // no SetPods yet
		b.snap.Store(&snapshot{strategy: strategy})
		return nil
	}
	b.snap.Store(newSnapshot(old, b.clock.Nanos(now), old.all, opts, strategy))
	return nil
}

func (b *Balancer) newFlight() any {
	f := &flight{b: b, shard: &b.shards[0]}
	if !b.repeatable {
		f.shard = &b.shards[b.made.Add(1)%shards]
	}
	return f
}

// SetPods replaces the set of pods. What is known of a pod that stays, by name,
// is kept; requests in flight on a pod that leaves still end correctly. A weight
// of 0 counts as 1; of two pods with one name the first is kept. Pods to be avoided
// are picked only when no other that takes new sessions has room.
func (b *Balancer) SetPods(now time.Time, pods []statefulroute.Pod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.snap.Load()
	b.snap.Store(newSnapshot(old, b.clock.Nanos(now), pods, b.opts, old.strategy))
}

// Pick chooses a pod among those that take new sessions and counts the request
// in flight on it until the result is Done. The key is the session's, "" for
// none. When no pod will do the error is a *NoPodsError.
func (b *Balancer) Pick(now time.Time, key string) (PickResult, error) {
	s := b.snap.Load()
	if len(s.pods) == 0 {
		return PickResult{}, s.noPods()
	}
	nano := b.clock.Nanos(now)
	f := b.flights.Get().(*flight)
	count, random := f.shard.draw(nano)
	if count%s.refreshEvery == 0 {
		s.refresh()
	}
	v := View{snap: s, now: nano, draw: random}
	if i := s.strategy.Pick(key, v); i >= 0 && i < len(s.pods) && s.admit(s.pods[i]) {
		return f.result(s.pods[i], nano), nil
	}
	p := s.admitAny(v.Random(pickFallback))
	if p == nil {
		b.flights.Put(f)
		return PickResult{}, s.noPods()
	}
	return f.result(p, nano), nil
}

// Start counts a bound request in flight on its pod until the result is Done.
// A pod that SetPods was not given is an error.
func (b *Balancer) Start(now time.Time, pod string) (PickResult, error) {
	p, ok := b.snap.Load().byName[pod]
	if !ok {
		return PickResult{}, fmt.Errorf("unknown pod %q", pod)
	}
	nano := b.clock.Nanos(now)
	f := b.flights.Get().(*flight)
	f.shard.draw(nano)
	p.inFlight.Add(1)
	return f.result(p, nano), nil
}

// Home returns the key's weighted-rendezvous home among the pods that take new
// sessions and are not to be avoided, caps aside, so that replicas that know the same pods agree on it
// without talking. ok is false when there is no such pod.
func (b *Balancer) Home(key string) (pod string, ok bool) {
	s := b.snap.Load()
	if len(s.pods) == 0 {
		return "", false
	}
	return s.pods[s.home(key)].name, true
}

// SetSessions records the number of sessions bound to the pod; an unknown pod is
// ignored.
func (b *Balancer) SetSessions(pod string, n int64) {
	if p, ok := b.snap.Load().byName[pod]; ok {
		p.sessions.Store(n)
	}
}

// AddSessions adds delta to the number of sessions bound to the pod; an unknown
// pod is ignored.
func (b *Balancer) AddSessions(pod string, delta int64) {
	if p, ok := b.snap.Load().byName[pod]; ok {
		p.sessions.Add(delta)
	}
}
