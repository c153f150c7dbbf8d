package extproc

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// IdleTimeouts is told how long each service keeps an unused binding; 0 means
// the table's default.
type IdleTimeouts interface {
	SetIdleTimeout(service string, d time.Duration)
}

// DirectoryOptions configures a Directory.
type DirectoryOptions struct {
	// Registry holds the balancing strategies. nil means the built-in ones.
	Registry *balancing.Registry
	// Seed makes the balancers' random choices; replicas need different ones.
	Seed uint64
	// Monitor counts per service. Required.
	Monitor *metrics.Monitor
	// IdleTimeouts, when set, follows each service's idle_timeout.
	IdleTimeouts IdleTimeouts
	// DefaultIdleTimeout is that of services that set none; see SetDefaultIdleTimeout.
	DefaultIdleTimeout time.Duration
	// OnComplete, when set, is called once, when every service announced has
	// its pods for the first time.
	OnComplete func()
	// FastPath, when set, is told how services and pods stand.
	FastPath FastPath
	// Log receives what should not happen. nil means silence.
	Log *zap.Logger
	// Now is the clock. nil means time.Now.
	Now func() time.Time
}

// Directory holds the services as they stand: policy, pods and balancer of
// each. The request path reads without a lock; a Watcher replaces the services that
// differ, and leaves the others alone. A Directory that loses its Watcher keeps
// serving what it has.
type Directory struct {
	opts   DirectoryOptions
	fast   fastPath
	hasher *keyHasher // of all that extproc logs
	// slots has a slot for each service. The map itself is replaced when services
	// come or go.
	slots atomic.Pointer[map[string]*slot]

	mu sync.Mutex // serialises what changes or counts the services

	complete atomic.Bool
	synced   chan struct{} // closed when complete is set
}

// slot is where a service stands, as it is now.
type slot struct{ current atomic.Pointer[service] }

// service is one service at one moment. Only the balancer, the metrics, the
// look-ups and the pods' sampling marks change inside it.
type service struct {
	sessionPlaces
	policy    statefulroute.Service
	state     wire.ServiceState // what it was made of
	balancer  *balancing.Balancer
	place     placer
	metrics   *metrics.ServiceMetrics
	pods      map[string]*podView
	current   func() *service         // the service as it stands now; nil when it is gone
	before    atomic.Pointer[service] // what the balancer may still choose from; nil but for a moment
	addresses map[string]*podView     // by "IP:PORT", as Envoy names an upstream
	unbound   *sampler
	lookups   *lookups
	refusals  *refusals
	shows     bool // Envoys may answer for its sessions themselves
}

// sessionPlaces are where requests and responses name sessions, and end them.
type sessionPlaces struct {
	keys      *sessionkey.Reader
	issueFrom int                // index of the issued cookie among keys, -1 for none
	learn     *sessionkey.Reader // nil for a service that does not learn
	named     *sessionkey.Reader // keys and learn: every place where a request may name one
	ends      []ending           // requests that end their session
}

// podView is a pod with what is ready to be sent for it.
type podView struct {
	statefulroute.Pod
	answers answerPair
	again   answerPair // to requests that may be tried once more
	sampler *sampler
	times   *responseTimes
}

// NewDirectory returns a directory without services.
func NewDirectory(o DirectoryOptions) (*Directory, error) {
	if o.Monitor == nil {
		return nil, errors.New("extproc: a directory needs a Monitor")
	}
	if o.Registry == nil {
		o.Registry = balancing.NewRegistry()
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Directory{opts: o, fast: fastPath{FastPath: o.FastPath, log: o.Log}, hasher: newKeyHasher(), synced: make(chan struct{})}
	d.slots.Store(&map[string]*slot{})
	return d, nil
}

// Complete reports whether the directory has once been synced, that is, had every service with its pods; extproc is ready
// from then on.
func (d *Directory) Complete() bool { return d.complete.Load() }

// Services lists the services in force, by name.
func (d *Directory) Services() []wire.ServiceState {
	current := d.all()
	out := make([]wire.ServiceState, 0, len(current))
	for _, name := range slices.Sorted(maps.Keys(current)) {
		s := current[name]
		state := wire.ServiceState{Service: s.policy}
		for _, pod := range slices.Sorted(maps.Keys(s.pods)) {
			state.Pods = append(state.Pods, s.pods[pod].Pod)
		}
		out = append(out, state)
	}
	return out
}

// Has reports whether there is a service of that name.
func (d *Directory) Has(name string) bool { return d.service(name) != nil }

// PodState is the state of a service's pod; false where there is none of that name.
func (d *Directory) PodState(service, pod string) (statefulroute.PodState, bool) {
	if s := d.service(service); s != nil {
		if p := s.pods[pod]; p != nil {
			return p.State, true
		}
	}
	return 0, false
}

// HashKey is a session key as logs and traces may show it.
func (d *Directory) HashKey(service, key string) string { return d.hasher.hash(service, key) }

// BalancerStats is what the balancer of each service counted.
func (d *Directory) BalancerStats() map[string]balancing.Stats {
	out := map[string]balancing.Stats{}
	for name, s := range d.all() {
		out[name] = s.balancer.Stats()
	}
	return out
}

func (d *Directory) service(name string) *service {
	if s := (*d.slots.Load())[name]; s != nil {
		return s.current.Load()
	}
	return nil
}

// all returns the services in force.
func (d *Directory) all() map[string]*service {
	slots := *d.slots.Load()
	out := make(map[string]*service, len(slots))
	for name, s := range slots {
		out[name] = s.current.Load()
	}
	return out
}

// await is service that, as long as the directory has never been synced, waits for
// that or for the end of ctx or stop: a process that has just started does not know
// yet what it does not know.
func (d *Directory) await(ctx, stop context.Context, name string) *service {
	if s := d.service(name); s != nil {
		return s
	}
	select {
	case <-d.synced:
	case <-ctx.Done():
	case <-stop.Done():
	}
	return d.service(name)
}

// Check refuses a service whose key sources or balancing strategy are not
// understood here.
func (d *Directory) Check(svc statefulroute.Service) error {
	if _, err := readSessionPolicy(svc.Session); err != nil {
		return err
	}
	_, err := d.newBalancer(svc.Balancing)
	return err
}

// Set replaces all services: it is Update with those that differ.
func (d *Directory) Set(services []wire.ServiceState, complete bool) {
	var set []wire.ServiceState
	gone := d.all()
	for i := range services {
		name := services[i].Service.Name
		if was := gone[name]; was == nil || !was.state.Same(&services[i]) {
			set = append(set, services[i])
		}
		delete(gone, name)
	}
	d.Update(set, slices.Sorted(maps.Keys(gone)), complete)
}

// Update brings services into force and takes others out of it; those it does not
// name are not touched. One that was there keeps its balancer's knowledge, also
// when its balancing policy changed.
func (d *Directory) Update(set []wire.ServiceState, gone []string, complete bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	joining := map[string]*slot{}
	for _, state := range set {
		name := state.Service.Name
		at := (*d.slots.Load())[name]
		var was *service
		if at != nil {
			was = at.current.Load()
		}
		s, err := d.build(was, state)
		switch {
		case err != nil: // Check refuses what cannot be built
			d.opts.Log.Error("service cannot be set up; it stays as it was, if it was there",
				zap.String("service", name), zap.Error(err))
		case was == nil:
			s.balancer.SetPods(d.opts.Now(), state.Pods)
			joining[name] = &slot{}
			joining[name].current.Store(s)
		default:
			d.fast.leave(was, s)
			d.replace(at, was, s)
			d.fast.join(was, s, d.idleTimeoutLocked(s.policy))
		}
	}
	if complete || len(joining) > 0 {
		d.activateLocked(joining)
	}
	d.joinAndLeave(joining, gone)
	if complete && d.complete.CompareAndSwap(false, true) {
		close(d.synced)
		if d.opts.OnComplete != nil {
			d.opts.OnComplete()
		}
	}
}

// LeftOut says what the fast path would not take, though the rest has it; nothing where all is
// in it, or there is none.
func (d *Directory) LeftOut() []string { return d.fast.out.all() }

// activateLocked has Envoys go by our fast path before the first services are served. They are
// in it by then, so that restored sessions need not ask a process that Envoy may not have
// found yet.
func (d *Directory) activateLocked(first map[string]*slot) {
	if d.fast.active {
		return
	}
	for _, slot := range first {
		s := slot.current.Load()
		d.fast.join(nil, s, d.idleTimeoutLocked(s.policy))
	}
	d.fast.activate()
}

// replace puts a service in another's place. The balancer, which both share, must
// not choose a pod that a request cannot look up, nor be without pods in between,
// also where all pods are replaced at once: while it is given the new ones,
// requests that see the new service find the old pods, too, and those that see the
// old one find the new pods through current.
func (d *Directory) replace(at *slot, was, s *service) {
	s.before.Store(was)
	at.current.Store(s)
	s.balancer.SetPods(d.opts.Now(), s.state.Pods)
	s.before.Store(nil)
	forgetPods(was, s)
}

// joinAndLeave replaces the map of slots, if that has to be.
func (d *Directory) joinAndLeave(joining map[string]*slot, gone []string) {
	old := *d.slots.Load()
	gone = slices.DeleteFunc(slices.Clone(gone), func(name string) bool { return old[name] == nil })
	if len(joining)+len(gone) == 0 {
		return
	}
	next := maps.Clone(old)
	maps.Copy(next, joining)
	for _, name := range gone {
		d.fast.leave(old[name].current.Load(), nil)
		delete(next, name)
	}
	d.slots.Store(&next)
	for _, name := range gone {
		forgetPods(old[name].current.Load(), nil)
	}
	for _, slot := range joining {
		s := slot.current.Load()
		d.fast.join(nil, s, d.idleTimeoutLocked(s.policy))
	}
}

func (d *Directory) build(old *service, state wire.ServiceState) (*service, error) {
	state.Pods = slices.Clone(state.Pods) // the caller's may change
	svc := state.Service
	places, err := readSessionPolicy(svc.Session)
	if err != nil {
		return nil, err
	}
	s := &service{
		policy: svc, state: state, sessionPlaces: places,
		metrics:   d.opts.Monitor.Service(svc.Name),
		pods:      make(map[string]*podView, len(state.Pods)),
		addresses: make(map[string]*podView, len(state.Pods)),
		unbound:   &sampler{},
		lookups:   &lookups{},
		refusals:  &refusals{},
		shows:     d.fast.FastPath != nil && svc.Session.Shown(),
		current:   func() *service { return d.service(svc.Name) },
	}
	if old != nil {
		s.lookups, s.refusals = old.lookups, old.refusals
	}
	if s.balancer, err = d.balancerOf(old, svc.Balancing); err != nil {
		return nil, err
	}
	for _, p := range state.Pods {
		v := newPodView(old, p, svc.Session.OnExtprocLoss)
		s.pods[p.Name] = v
		s.addresses[p.Address.String()] = v
	}
	s.place = &timedPlacer{Balancer: s.balancer, metrics: s.metrics, now: d.opts.Now}
	d.setIdleTimeoutLocked(svc)
	return s, nil
}

// SetDefaultIdleTimeout changes what services have that set no idle_timeout.
func (d *Directory) SetDefaultIdleTimeout(to time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opts.DefaultIdleTimeout = to
	for _, s := range d.all() {
		d.setIdleTimeoutLocked(s.policy)
		d.fast.setIdleTimeout(s, d.idleTimeoutLocked(s.policy))
	}
}

func (d *Directory) setIdleTimeoutLocked(svc statefulroute.Service) {
	if d.opts.IdleTimeouts != nil {
		d.opts.IdleTimeouts.SetIdleTimeout(svc.Name, d.idleTimeoutLocked(svc))
	}
}

func (d *Directory) idleTimeoutLocked(svc statefulroute.Service) time.Duration {
	return cmp.Or(svc.Session.IdleTimeout, d.opts.DefaultIdleTimeout)
}

// newPodView keeps a pod that stays as it is, and what was measured of one that
// only changed.
func newPodView(old *service, p statefulroute.Pod, loss statefulroute.ExtprocLossPolicy) *podView {
	view := &podView{Pod: p}
	var was *podView
	if old != nil {
		was = old.pods[p.Name]
	}
	switch {
	case was == nil:
		view.sampler, view.times = &sampler{}, newResponseTimes()
	case was.Pod == p && old.policy.Session.OnExtprocLoss == loss:
		return was
	default:
		view.sampler, view.times = was.sampler, was.times
	}
	view.answers, view.again = boundAnswers(p, loss)
	return view
}

// balancerOf returns the balancer of a service under a policy. One that is there
// keeps what it knows of the pods: caps count the requests in flight from before.
func (d *Directory) balancerOf(old *service, b statefulroute.BalancingPolicy) (*balancing.Balancer, error) {
	switch {
	case old == nil:
		return d.newBalancer(b)
	case old.policy.Balancing != b:
		if err := old.balancer.Update(d.opts.Now(), d.options(b)); err != nil {
			return nil, err
		}
	}
	return old.balancer, nil
}

func (d *Directory) newBalancer(b statefulroute.BalancingPolicy) (*balancing.Balancer, error) {
	return balancing.New(d.options(b))
}

func (d *Directory) options(b statefulroute.BalancingPolicy) balancing.Options {
	return balancing.Options{
		Strategy:           b.Strategy,
		Registry:           d.opts.Registry,
		MaxConnections:     b.MaxConnections,
		MaxSessions:        b.MaxSessions,
		ResponseTimeWindow: b.ResponseTimeWindow,
		SlowStart:          b.SlowStart,
		Seed:               d.opts.Seed,
	}
}

func readSessionPolicy(p statefulroute.SessionPolicy) (places sessionPlaces, err error) {
	var sources []statefulroute.SessionSource
	sources, places.issueFrom = p.Keys()
	if places.keys, err = sessionkey.NewReader(sources); err != nil {
		return places, err
	}
	if places.ends, err = openEnds(p.End); err != nil || len(p.Learn) == 0 {
		return places, err
	}
	if places.learn, err = sessionkey.NewReader(p.Learn); err != nil {
		return places, err
	}
	places.named, err = sessionkey.NewReader(slices.Concat(sources, p.Learn))
	return places, err
}

// pod returns the pod called name as this request sees it or, where another
// request already saw newer pods, as it is now.
func (s *service) pod(name string) *podView {
	if p := s.pods[name]; p != nil {
		return p
	}
	if n := s.current(); n != nil && n != s {
		return n.pods[name]
	}
	return nil
}

// chosen returns the pod called name that the balancer chose: while the pods of a
// service are replaced, also one that leaves.
func (s *service) chosen(name string) *podView {
	if p := s.pod(name); p != nil {
		return p
	}
	if n := s.current(); n != nil {
		if was := n.before.Load(); was != nil {
			return was.pods[name]
		}
	}
	return nil
}

// podAt returns the pod that lives at an address as Envoy writes it.
func (s *service) podAt(address string) *podView {
	if p, ok := s.addresses[address]; ok {
		return p
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil
	}
	return s.addresses[netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()]
}

// forgetPods ends the gauges of a service's pods that are gone; now is nil where
// the service itself is.
func forgetPods(was, now *service) {
	for pod := range was.pods {
		if now == nil || now.pods[pod] == nil {
			was.metrics.ForgetPod(pod)
		}
	}
}
