package load

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing/health"
	"github.com/stateful-route/stateful-route/balancing/weight"
	"github.com/stateful-route/stateful-route/xds/state"
)

// WeightSetter puts new weights of pods, by service, into force.
type WeightSetter interface {
	SetWeights(ctx context.Context, weights map[string]map[string]uint32) error
}

// PodProber has a pod probed at once that is suspect.
type PodProber interface {
	Suspect(ctx context.Context, service, pod string)
}

// WeightController is the load loop: once a second it takes what the clients reported,
// has a weight.Controller for each service compute weights from it, and puts them into
// force.
type WeightController struct {
	Logger *zap.Logger
	Loads  *Store
	Set    WeightSetter
	Prober PodProber
	Model  func() state.Model
	// Penalty lowers a pod's weight for what the analyzer found, 0 to 1; nil
	// lowers none.
	Penalty func(service, pod string) float64
	// Observe, when set, gets what every second brought.
	Observe func(Taken)

	services map[string]*controlledService
}

// controlledService is the state of one service.
type controlledService struct {
	active    bool
	slowStart time.Duration
	window    time.Duration
	weights   *weight.Controller
	passive   *health.PassiveCheck
	view      *state.ServiceView // as of the last step; nil before the first
	followed  *weight.Controller // that know of its pods
	pushed    time.Time
}

func (st *controlledService) members() []state.Member {
	if st.view == nil {
		return nil
	}
	return st.view.Members
}

// pushInterval is the least time between two pushes of a service's weights.
const pushInterval = time.Second

// Run updates weights until ctx ends.
func (c *WeightController) Run(ctx context.Context) error {
	c.services = map[string]*controlledService{}
	last := time.Now()
	every(ctx, time.Second, func() {
		now := time.Now()
		c.step(ctx, now, now.Sub(last))
		last = now
	})
	return nil
}

func (c *WeightController) step(ctx context.Context, now time.Time, interval time.Duration) {
	model := c.Model()
	c.follow(now, model)
	taken := c.Loads.Take()
	c.Loads.Keep(model.HasPod)
	byPod := make(map[podID]Window, len(taken.Windows))
	for _, w := range taken.Windows {
		byPod[podID{w.Service, w.Pod}] = w
	}
	due := map[string]map[string]uint32{}
	for _, svc := range model.Services {
		if weights, push := c.update(ctx, now, svc, interval, byPod); push {
			due[svc.Name] = weights
		}
	}
	if len(due) > 0 {
		if err := c.Set.SetWeights(ctx, due); err != nil && ctx.Err() == nil {
			c.Logger.Error("weights not set", zap.Int("services", len(due)), zap.Error(err))
		}
	}
	if c.Observe != nil {
		c.Observe(taken)
	}
}

// follow brings the state of the services in line with the model.
func (c *WeightController) follow(now time.Time, model state.Model) {
	for name := range c.services {
		if _, ok := model.Service(name); !ok {
			delete(c.services, name)
		}
	}
	for _, svc := range model.Services {
		st := c.stateOf(svc)
		if st.followed == st.weights && st.view != nil && svc.SameButWeights(st.view) {
			st.view = svc
			continue
		}
		pods := make([]statefulroute.Pod, len(svc.Members))
		for i, m := range svc.Members {
			pods[i] = m.Pod
		}
		for _, m := range st.members() {
			if !model.HasPod(svc.Name, m.Name) {
				st.passive.Forget(m.Name)
			}
		}
		st.view, st.followed = svc, st.weights
		st.weights.SetPods(now, pods)
	}
}

// stateOf returns the state of a service. A change of its policy throws away only
// what was made for the old one: weights begin anew when they begin to follow the
// load, or with another slow start, and then move from the configured ones in
// bounded steps.
func (c *WeightController) stateOf(svc *state.ServiceView) *controlledService {
	st := c.services[svc.Name]
	if st == nil {
		st = &controlledService{}
		c.services[svc.Name] = st
	}
	b, active := svc.Balancing, !svc.Balancing.FixedWeights
	if st.weights == nil || st.slowStart != b.SlowStart || active && !st.active {
		st.weights, st.slowStart = weight.New(weight.Options{SlowStart: b.SlowStart}), b.SlowStart
	}
	if st.passive == nil || st.window != b.ResponseTimeWindow {
		st.passive, st.window = health.NewPassiveCheck(b.ResponseTimeWindow), b.ResponseTimeWindow
	}
	st.active = active
	return st
}

// update takes a service's second and returns the weights of its pods, and whether
// they are to be put into force.
func (c *WeightController) update(ctx context.Context, now time.Time, svc *state.ServiceView, interval time.Duration, windows map[podID]Window) (weights map[string]uint32, push bool) {
	st := c.services[svc.Name]
	for _, m := range svc.Members {
		w := windows[podID{svc.Name, m.Name}]
		o := w.Observation(interval)
		st.weights.Observe(now, m.Name, o)
		// Envoy counts a gRPC stream as succeeded at its end only; extprocs see its
		// response begin. A connection that fails was never issued.
		if st.passive.Observe(now, m.Name, max(o.Issued, o.Failed), max(o.Succeeded, w.Responses)) {
			c.Logger.Warn("pod was sent requests but answered none", zap.String("service", svc.Name),
				zap.String("pod", m.Name), zap.Duration("window", svc.Balancing.ResponseTimeWindow))
			c.Prober.Suspect(ctx, svc.Name, m.Name)
		}
		if c.Penalty != nil {
			st.weights.Penalty(m.Name, c.Penalty(svc.Name, m.Name))
		}
	}
	weights, push = st.weights.Next(now)
	if push = st.active && (push || st.differs(now, weights)); push {
		st.pushed = now
	}
	return weights, push
}

// differs reports whether pods have other weights than they should, and enough time
// has passed to push them: a push can fail, and a pod that is removed and added
// again within a moment has lost its weight.
func (st *controlledService) differs(now time.Time, weights map[string]uint32) bool {
	return now.Sub(st.pushed) >= pushInterval && slices.ContainsFunc(st.members(), func(m state.Member) bool {
		w, ok := weights[m.Name]
		return ok && w != m.EffectiveWeight
	})
}

func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}
