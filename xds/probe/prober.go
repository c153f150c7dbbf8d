// Package probe runs the active health checks of the pods.
package probe

import (
	"container/heap"
	"context"
	"crypto/tls"
	"errors"
	"hash/fnv"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing/health"
	"github.com/stateful-route/stateful-route/xds/state"
)

// Observer hears of every probe; the function it returns is called with
// the outcome.
type Observer interface {
	Probe(ctx context.Context, service, pod string) (context.Context, func(err error, took time.Duration))
}

// HealthSetter takes what the probes found.
type HealthSetter interface {
	// SetHealth is given verdicts by service and pod.
	SetHealth(ctx context.Context, verdicts map[string]map[string]state.HealthVerdict) error
}

// Prober runs the active health checks of all services: one loop that owns
// their state machines, and a goroutine per probe under way.
type Prober struct {
	Logger   *zap.Logger
	Observer Observer
	Set      HealthSetter
	// Model tells which pods there are, and Changed is signalled when it differs.
	Model   func() state.Model
	Changed <-chan struct{}

	suspects chan podID
	results  chan probeResult
	probes   sync.WaitGroup
	once     sync.Once

	// Owned by the loop.
	checked map[string]*checkedService
	queue   checkQueue
	again   time.Time // when to try what could not be set; zero: nothing
}

// podID names a pod of all services.
type podID struct{ service, pod string }

// checkedService is one service whose pods are probed.
type checkedService struct {
	name      string
	check     statefulroute.HealthCheck
	secure    *tls.Config // nil: pods are not spoken to by TLS
	health    *health.Checker
	addresses map[string]netip.AddrPort
	due       time.Time // of the first probe
	place     int       // in the queue; -1: not in it
	// followed is the view that was followed last: what it says is known. nil: it
	// must be looked at again.
	followed *state.ServiceView
}

// probeResult is what one probe found, for whom and at which address.
type probeResult struct {
	id     podID
	health *health.Checker // that asked
	at     netip.AddrPort
	err    error
}

// retryAfter is the pause before what could not be set is tried again.
const retryAfter = time.Second

func (p *Prober) init() {
	p.once.Do(func() {
		p.suspects = make(chan podID)
		p.results = make(chan probeResult)
		p.checked = map[string]*checkedService{}
	})
}

// Suspect has a pod probed at once; one failure then takes it out. Pods of a
// service without a health check are not probed.
func (p *Prober) Suspect(ctx context.Context, service, pod string) {
	p.init()
	select {
	case p.suspects <- podID{service, pod}:
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
			if now := time.Now(); !p.again.IsZero() && !now.Before(p.again) {
				p.again = time.Time{}
				p.follow(ctx, now)
			}
		case id := <-p.suspects:
			p.suspect(time.Now(), id)
		case r := <-p.results:
			found = p.waiting(r)
			p.followIfChanged(ctx)
		}
		p.take(ctx, time.Now(), found)
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

// follow brings the state machines in line with the model, and the model's word on
// which pods are down in line with them: either may have missed a change of the
// other.
func (p *Prober) follow(ctx context.Context, now time.Time) {
	seen, verdicts := map[string]bool{}, map[string]map[string]state.HealthVerdict{}
	model := p.Model()
	for _, svc := range model.Services {
		c := p.checkOf(svc)
		if c == nil {
			continue
		}
		seen[svc.Name] = true
		c.secure = clientOf(svc.Service, model.Gateway.Secrets)
		if c.followed != nil && svc.SameButWeights(c.followed) {
			continue
		}
		c.followed = svc
		p.log(svc.Name, nil, c.setMembers(now, svc.Members))
		for _, m := range svc.Members {
			v := state.HealthVerdict{Healthy: c.health.Healthy(m.Name), Avoid: c.health.Avoided(m.Name)}
			if v.Healthy == m.Down || v.Avoid != m.Avoid {
				note(verdicts, svc.Name, m.Name, v)
			}
		}
		p.requeue(c)
	}
	p.set(ctx, verdicts)
	for name, c := range p.checked {
		if !seen[name] {
			p.end(ctx, c)
		}
	}
}

// checkOf returns how a service is checked, nil for not at all. A check that
// changed starts afresh, but for the pods that are down: they stay so until the
// new check finds otherwise.
func (p *Prober) checkOf(svc *state.ServiceView) *checkedService {
	c := p.checked[svc.Name]
	switch {
	case svc.Health == nil:
		return nil
	case c != nil && reflect.DeepEqual(c.check, *svc.Health):
		return c
	}
	return p.add(svc.Name, *svc.Health)
}

// add starts judging a service.
func (p *Prober) add(service string, check statefulroute.HealthCheck) *checkedService {
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(service)) // a hash.Hash never fails
	health, err := health.New(health.Options{
		Interval: check.Interval, UnhealthyAfter: check.UnhealthyAfter,
		HealthyAfter: check.HealthyAfter, Seed: seed.Sum64(),
	})
	if err != nil {
		p.Logger.Error("a service is not probed", zap.String("service", service), zap.Error(err))
		return nil
	}
	c := p.checked[service]
	if c == nil {
		c = &checkedService{name: service, place: -1}
		p.checked[service] = c
	}
	c.check, c.health, c.followed = check, health, nil
	return c
}

// setMembers tells the service's state machine which pods there are.
func (c *checkedService) setMembers(now time.Time, members []state.Member) []health.Transition {
	pods := make([]health.Pod, len(members))
	c.addresses = make(map[string]netip.AddrPort, len(members))
	for i, m := range members {
		pods[i] = health.Pod{Name: m.Name, InService: m.Override == statefulroute.Ready, Down: m.Down}
		c.addresses[m.Name] = m.Address
	}
	return c.health.SetPods(now, pods)
}

// suspect probes a pod at once.
func (p *Prober) suspect(now time.Time, id podID) {
	if c := p.checked[id.service]; c != nil {
		c.health.Suspect(now, id.pod)
		p.requeue(c)
	}
}

// end forgets a service that is gone or no longer checked; its pods are not
// left in a state that nobody would ever lift.
func (p *Prober) end(ctx context.Context, c *checkedService) {
	delete(p.checked, c.name)
	p.queue.drop(c)
	well := map[string]map[string]state.HealthVerdict{}
	for pod := range c.addresses {
		if !c.health.Healthy(pod) || c.health.Avoided(pod) {
			note(well, c.name, pod, state.HealthVerdict{Healthy: true})
		}
	}
	p.set(ctx, well)
}

// start launches the probes that are due and returns when to come back.
func (p *Prober) start(ctx context.Context, now time.Time) (next time.Time, ok bool) {
	for len(p.queue) > 0 && !now.Before(p.queue[0].due) {
		c := p.queue[0]
		for _, pod := range c.health.Due(now) {
			p.launch(ctx, podID{c.name, pod}, c)
		}
		p.requeue(c)
	}
	next = p.again
	if len(p.queue) > 0 && (next.IsZero() || p.queue[0].due.Before(next)) {
		next = p.queue[0].due
	}
	return next, !next.IsZero()
}

// requeue puts a service where its next probe belongs.
func (p *Prober) requeue(c *checkedService) {
	due, ok := c.health.Next()
	if !ok {
		p.queue.drop(c)
		return
	}
	c.due = due
	if c.place < 0 {
		heap.Push(&p.queue, c)
	} else {
		heap.Fix(&p.queue, c.place)
	}
}

func (p *Prober) launch(ctx context.Context, id podID, c *checkedService) {
	check, secure, health, at := c.check, c.secure, c.health, c.addresses[id.pod]
	p.probes.Go(func() {
		started := time.Now()
		probeCtx, done := p.Observer.Probe(ctx, id.service, id.pod)
		err := probe(probeCtx, check, secure, at)
		if ctx.Err() != nil {
			return // cut short by our own end: says nothing about the pod
		}
		done(err, time.Since(started))
		select {
		case p.results <- probeResult{id, health, at, err}:
		case <-ctx.Done():
		}
	})
}

// take books results and puts what they change into force.
func (p *Prober) take(ctx context.Context, now time.Time, found []probeResult) {
	verdicts := map[string]map[string]state.HealthVerdict{}
	for _, r := range found {
		for _, t := range p.result(ctx, now, r) {
			note(verdicts, r.id.service, t.Pod, state.HealthVerdict{Healthy: t.Healthy, Avoid: t.Avoid}) // of two about one pod the last counts
		}
	}
	p.set(ctx, verdicts)
}

// result books one result. One for a check that was replaced, or of a service that
// is gone, says nothing; the pod of one from an old address is probed again.
func (p *Prober) result(ctx context.Context, now time.Time, r probeResult) []health.Transition {
	c := p.checked[r.id.service]
	if c == nil || c.health != r.health {
		return nil
	}
	if at, ok := c.addresses[r.id.pod]; ok && at != r.at {
		p.launch(ctx, r.id, c)
		return nil
	}
	changed := c.health.Result(now, r.id.pod, outcome(r.err))
	p.log(c.name, r.err, changed)
	p.requeue(c)
	return changed
}

func outcome(err error) health.Outcome {
	switch {
	case err == nil:
		return health.Passed
	case errors.Is(err, errUnreachable):
		return health.Unreachable
	}
	return health.Failed
}

func (p *Prober) log(service string, probe error, changed []health.Transition) {
	for _, t := range changed {
		p.Logger.Warn("pod health changed", zap.String("service", service), zap.String("pod", t.Pod),
			zap.Bool("healthy", t.Healthy), zap.Bool("avoided", t.Avoid), zap.String("reason", t.Reason), zap.NamedError("probe", probe))
	}
}

// set puts verdicts into force; those about pods that left in the meantime are
// dropped there. What cannot be set now is tried again: follow compares.
func (p *Prober) set(ctx context.Context, verdicts map[string]map[string]state.HealthVerdict) {
	if len(verdicts) == 0 {
		return
	}
	if err := p.Set.SetHealth(ctx, verdicts); err != nil && ctx.Err() == nil {
		p.again = time.Now().Add(retryAfter)
		for service := range verdicts {
			if c := p.checked[service]; c != nil {
				c.followed = nil
			}
		}
		p.Logger.Error("health of pods not set", zap.Error(err))
	}
}

func note(verdicts map[string]map[string]state.HealthVerdict, service, pod string, v state.HealthVerdict) {
	if verdicts[service] == nil {
		verdicts[service] = map[string]state.HealthVerdict{}
	}
	verdicts[service][pod] = v
}

// checkQueue is a heap of services by their next probe.
type checkQueue []*checkedService

func (q checkQueue) Len() int           { return len(q) }
func (q checkQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q checkQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}
func (q *checkQueue) Push(x any) {
	c := x.(*checkedService)
	c.place = len(*q)
	*q = append(*q, c)
}
func (q *checkQueue) Pop() any {
	old := *q
	c := old[len(old)-1]
	old[len(old)-1] = nil
	c.place = -1
	*q = old[:len(old)-1]
	return c
}

func (q *checkQueue) drop(c *checkedService) {
	if c.place >= 0 {
		heap.Remove(q, c.place)
	}
}
