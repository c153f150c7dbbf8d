package xds

import (
	"context"
	"hash/fnv"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
)

// ProbeObserver hears of every probe; the function it returns is called with
// the outcome.
type ProbeObserver interface {
	Probe(ctx context.Context, service, pod string) (context.Context, func(err error, took time.Duration))
}

// HealthSetter takes what the probes found of pods of a service.
type HealthSetter interface {
	SetHealth(ctx context.Context, service string, healthy map[string]bool) error
}

// Prober runs the active health checks of all services: one loop that owns
// their state machines, and a goroutine per probe under way.
type Prober struct {
	Logger   *zap.Logger
	Observer ProbeObserver
	Set      HealthSetter
	// Model tells which pods there are, and Changed is signalled when it differs.
	Model   func() Model
	Changed <-chan struct{}

	doubts  chan podID
	results chan probeResult
	checked map[string]*checkedService // loop only
	probes  sync.WaitGroup
	once    sync.Once
}

// checkedService is one service with a health check.
type checkedService struct {
	check     statefulroute.HealthCheck
	health    *balancing.Health
	addresses map[string]netip.AddrPort
}

// probeResult is what one probe found, of which service as it was checked then
// and at which address.
type probeResult struct {
	id  podID
	of  *checkedService
	at  netip.AddrPort
	err error
}

func (p *Prober) init() {
	p.once.Do(func() {
		p.doubts = make(chan podID)
		p.results = make(chan probeResult)
		p.checked = map[string]*checkedService{}
	})
}

// Doubt has a pod probed at once; one failure then takes it out. A service
// without a health check has nothing to probe with: its doubts end here.
func (p *Prober) Doubt(ctx context.Context, service, pod string) {
	p.init()
	select {
	case p.doubts <- podID{service, pod}:
	case <-ctx.Done():
	}
}

// Run probes until ctx ends and its last probe has come back.
func (p *Prober) Run(ctx context.Context) error {
	p.init()
	defer p.probes.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	p.follow(ctx, time.Now())
	for {
		var found []probeResult
		select {
		case <-ctx.Done():
			return nil
		case <-p.Changed:
			p.follow(ctx, time.Now())
		case <-timer.C:
		case id := <-p.doubts:
			if c := p.checked[id.service]; c != nil {
				c.health.Doubt(time.Now(), id.pod)
			}
		case r := <-p.results:
			found = p.waiting(r)
			p.followIfChanged(ctx)
		}
		p.take(ctx, found)
		if next, ok := p.start(ctx, time.Now()); ok {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
	}
}

// waiting returns the result and all others that wait: what many probes found
// is one change of the model.
func (p *Prober) waiting(r probeResult) []probeResult {
	found := []probeResult{r}
	for {
		select {
		case r := <-p.results:
			found = append(found, r)
		default:
			return found
		}
	}
}

// followIfChanged has results judged by the pods there are now.
func (p *Prober) followIfChanged(ctx context.Context) {
	select {
	case <-p.Changed:
		p.follow(ctx, time.Now())
	default:
	}
}

// follow brings the state machines in line with the model.
func (p *Prober) follow(ctx context.Context, now time.Time) {
	seen := map[string]bool{}
	for _, svc := range p.Model().Services {
		if svc.Health == nil {
			continue
		}
		seen[svc.Name] = true
		c := p.checked[svc.Name]
		if c == nil || c.check != *svc.Health {
			c = p.add(svc)
			if c == nil {
				continue
			}
		}
		names := make([]string, len(svc.Members))
		c.addresses = make(map[string]netip.AddrPort, len(svc.Members))
		for i, m := range svc.Members {
			names[i] = m.Name
			c.addresses[m.Name] = m.Address
		}
		p.apply(ctx, svc.Name, c.health.SetPods(now, names))
	}
	for name := range p.checked {
		if !seen[name] {
			p.end(ctx, name)
		}
	}
}

// add starts judging a service, afresh when its check changed: what the old
// check found says nothing about the new one.
func (p *Prober) add(svc ServiceView) *checkedService {
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(svc.Name)) // a hash.Hash never fails
	health, err := balancing.NewHealth(balancing.HealthOptions{
		Interval: svc.Health.Interval, UnhealthyAfter: svc.Health.UnhealthyAfter,
		HealthyAfter: svc.Health.HealthyAfter, Seed: seed.Sum64(),
	})
	if err != nil {
		p.Logger.Error("a service is not probed", zap.String("service", svc.Name), zap.Error(err))
		return nil
	}
	c := &checkedService{check: *svc.Health, health: health}
	p.checked[svc.Name] = c
	return c
}

// end forgets a service that is gone or no longer checked; its pods are not
// left in a state that nobody would ever lift.
func (p *Prober) end(ctx context.Context, service string) {
	c := p.checked[service]
	delete(p.checked, service)
	well := map[string]bool{}
	for pod := range c.addresses {
		if !c.health.Healthy(pod) {
			well[pod] = true
		}
	}
	p.set(ctx, service, well)
}

// start launches the probes that are due and returns when the next ones are.
func (p *Prober) start(ctx context.Context, now time.Time) (next time.Time, ok bool) {
	for service, c := range p.checked {
		for _, pod := range c.health.Due(now) {
			p.launch(ctx, podID{service, pod}, c)
		}
		if at, some := c.health.Next(); some && (!ok || at.Before(next)) {
			next, ok = at, true
		}
	}
	return next, ok
}

func (p *Prober) launch(ctx context.Context, id podID, c *checkedService) {
	check, at := c.check, c.addresses[id.pod]
	p.probes.Go(func() {
		started := time.Now()
		probeCtx, done := p.Observer.Probe(ctx, id.service, id.pod)
		err := probe(probeCtx, check, at)
		if ctx.Err() != nil {
			return // cut short by our own end: says nothing about the pod
		}
		done(err, time.Since(started))
		select {
		case p.results <- probeResult{id, c, at, err}:
		case <-ctx.Done():
		}
	})
}

// take books results and puts what they change into force.
func (p *Prober) take(ctx context.Context, found []probeResult) {
	changed := map[string][]balancing.Transition{}
	for _, r := range found {
		changed[r.id.service] = append(changed[r.id.service], p.result(ctx, r)...)
	}
	for service, list := range changed {
		p.apply(ctx, service, list)
	}
}

// result books one result. One of a check that was replaced, or of a service that
// is gone, says nothing; the pod of one from an old address is probed again.
func (p *Prober) result(ctx context.Context, r probeResult) []balancing.Transition {
	c := p.checked[r.id.service]
	if c != r.of {
		return nil
	}
	if at, ok := c.addresses[r.id.pod]; ok && at != r.at {
		p.launch(ctx, r.id, c)
		return nil
	}
	changed := c.health.Result(r.id.pod, r.err == nil)
	for _, t := range changed {
		p.Logger.Warn("pod health changed", zap.String("service", r.id.service), zap.String("pod", t.Pod),
			zap.Bool("healthy", t.Healthy), zap.String("reason", t.Reason), zap.NamedError("probe", r.err))
	}
	return changed
}

// apply puts transitions into force; of two of one pod the last counts.
func (p *Prober) apply(ctx context.Context, service string, changed []balancing.Transition) {
	healthy := make(map[string]bool, len(changed))
	for _, t := range changed {
		healthy[t.Pod] = t.Healthy
	}
	p.set(ctx, service, healthy)
}

func (p *Prober) set(ctx context.Context, service string, healthy map[string]bool) {
	if len(healthy) == 0 {
		return
	}
	if err := p.Set.SetHealth(ctx, service, healthy); err != nil && ctx.Err() == nil {
		p.Logger.Error("health of pods not set", zap.String("service", service), zap.Error(err))
	}
}
