// Package play runs one schedule against one gateway: it starts pods and gateway,
// lets the clients play while the steps are taken, and hands what was seen to the
// check.
package play

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/check"
	"github.com/stateful-route/stateful-route/stickiness/client"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// Run is what to play.
type Run struct {
	Adapter  gateway.Adapter
	Schedule schedule.Schedule
	Seed     uint64
	Load     schedule.Load
	Dir      string // is made; gets the logs
	Waits    Waits
}

// Waits are how long is waited before something counts as not answered. On a busy
// machine short ones find nothing but that.
type Waits struct {
	HealthCheck time.Duration // by the gateway, of a pod
	Answer      time.Duration // by a client
}

// Outcome is what came of it: one of NotFor, Err and Result counts.
type Outcome struct {
	NotFor  string // why the schedule does not apply
	Err     error  // why it could not be played
	Result  check.Result
	History history.History
}

// How the gateways check the pods' health, and how long the judge waits for them
// to notice what came back, all in parts of the duration.
const (
	healthPath     = "/healthz"
	healthEvery    = 20
	unhealthyAfter = 2
	settleChecks   = 5
	startAttempts  = 3
	startPatience  = 2 * time.Minute // for the gateway's start
	stepPatience   = time.Minute     // for all that happens after the clients' end
)

func (r Run) health() gateway.Health {
	return gateway.Health{
		Path: healthPath, Interval: r.Load.Duration / healthEvery, Timeout: r.Waits.HealthCheck,
		UnhealthyAfter: unhealthyAfter, HealthyAfter: 1,
	}
}

// Play plays the run.
func Play(ctx context.Context, r Run) Outcome {
	if reason := r.Schedule.NotFor(r.Adapter); reason != "" {
		return Outcome{NotFor: reason}
	}
	h, err := r.play(ctx)
	if errors.Is(err, errNotApart) {
		return Outcome{NotFor: err.Error()}
	}
	if err != nil {
		return Outcome{Err: fmt.Errorf("%s, %s: %w", r.Adapter.Name, r.Schedule.Name, err)}
	}
	return Outcome{Result: check.Judge(h), History: h}
}

func (r Run) play(ctx context.Context) (h history.History, err error) {
	s, err := r.start(ctx)
	defer func() {
		if s.gateway != nil {
			err = errors.Join(err, s.gateway.Close())
		}
		s.fleet.Close()
	}()
	if err != nil {
		return h, err
	}
	if _, apart := s.gateway.(gateway.ControlPlane); !apart && slices.Contains(r.Schedule.Needs, gateway.ControlPlaneApart) {
		return h, errNotApart
	}
	return r.watch(ctx, s)
}

var errNotApart = errors.New("nothing leads it from a process of its own")

// start starts the pods and then the gateways. What it started is in the stage,
// also after an error.
func (r Run) start(ctx context.Context) (*stage, error) {
	s := &stage{fleet: &pod.Fleet{Dir: filepath.Join(r.Dir, "pods"), Key: r.Adapter.Key, HealthPath: healthPath}}
	of := filepath.Join(r.Dir, "gw") // short, for sockets
	for _, dir := range []string{s.fleet.Dir, of} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return s, err
		}
	}
	for i := range schedule.Pods {
		address, err := s.fleet.Start(ctx, schedule.PodName(i))
		if err != nil {
			return s, err
		}
		s.pods = append(s.pods, gateway.Pod{Name: schedule.PodName(i), Address: address, State: gateway.Serving})
	}
	var err error
	s.gateway, err = r.startGateway(ctx, of, s.pods)
	return s, err
}

// startGateway tries again: the ports that an adapter finds free may be taken when
// its programs want them.
func (r Run) startGateway(ctx context.Context, dir string, pods []gateway.Pod) (gateway.Gateway, error) {
	var errs []error
	for i := range startAttempts {
		of := filepath.Join(dir, strconv.Itoa(i))
		if err := os.MkdirAll(of, 0o755); err != nil {
			return nil, err
		}
		starting, cancel := context.WithTimeout(ctx, startPatience)
		g, err := r.Adapter.Start(starting, gateway.Options{
			Dir: of, Gateways: r.Schedule.GatewayCount(), Pods: slices.Clone(pods), Health: r.health(),
		})
		cancel()
		if err == nil {
			return g, nil
		}
		errs = append(errs, fmt.Errorf("start: %w", err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// watch lets the clients play while the steps are taken.
func (r Run) watch(ctx context.Context, s *stage) (history.History, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Load.Duration+r.Waits.Answer+2*stepPatience)
	defer cancel()
	began := time.Now()
	var names []string
	for _, p := range s.pods {
		names = append(names, p.Name)
	}
	s.world = newWorld(began, names, r.Schedule.GatewayCount())
	own := pod.NewWatch(began)
	var side sync.WaitGroup
	var stepErr error
	watching, stop := context.WithCancel(ctx)
	side.Go(func() { own.Run(watching) })
	steps := r.Schedule.Plan(r.Seed, r.Load.Duration)
	var stepping sync.WaitGroup
	enough := make(chan struct{})
	stepping.Go(func() {
		defer close(enough)
		if stepErr = s.take(ctx, steps); stepErr == nil {
			r.rest(ctx, steps)
		}
	})
	config := r.clients(s, began)
	config.Enough = enough
	records := client.Play(ctx, config)
	stepping.Wait()
	stop()
	side.Wait()
	if stepErr == nil {
		stepErr = ctx.Err()
	}
	if stepErr == nil && len(records) == 0 {
		stepErr = errors.New("no client made a visit")
	}
	if stepErr != nil {
		return history.History{}, stepErr
	}
	checked := r.health()
	h := s.world.history(s.fleet.Secrets())
	h.Records, h.Stalls = records, s.world.spans(own.Stalls(), checked.Timeout)
	h.Settle = settleChecks*checked.Interval + checked.Timeout
	return h, r.addStalls(ctx, s, h)
}

// rest waits as long after the last step as is planned, however late that was.
func (r Run) rest(ctx context.Context, steps []schedule.Planned) {
	last := time.Duration(0)
	if len(steps) > 0 {
		last = steps[len(steps)-1].At
	}
	timer := time.NewTimer(r.Load.Duration - last)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// addStalls adds the stalls that may have made a pod miss a health check: shorter
// ones no gateway has reason to mind.
func (r Run) addStalls(ctx context.Context, s *stage, h history.History) error {
	for _, name := range s.fleet.Running() {
		stalls, err := s.fleet.Stalls(ctx, name)
		if err != nil {
			return err
		}
		p := h.Pods[name]
		p.Stalls = s.world.spans(stalls, r.Waits.HealthCheck)
		h.Pods[name] = p
	}
	return nil
}

func (r Run) clients(s *stage, began time.Time) client.Config {
	c := client.Config{
		Addresses: s.gateway.Addresses(), Key: r.Adapter.Key, ReasonHeader: r.Adapter.ReasonHeader,
		Clients: r.Schedule.Clients, Sessions: r.Schedule.Visits(r.Seed, r.Load), Duration: r.Load.Duration,
		Patience: r.Waits.Answer, Began: began,
		Every: time.Duration(float64(r.Load.Sessions) / r.Load.Rate * float64(time.Second)),
	}
	c.GRPCAddresses = c.Addresses
	if g, ok := s.gateway.(gateway.GRPCAddresses); ok {
		c.GRPCAddresses = g.GRPCAddresses()
	}
	pods := append([]gateway.Pod{}, s.pods...)
	c.Forge = func(n int) schedule.Forgery {
		all := schedule.Forgeries(pods[n%len(pods)], r.Adapter.RoutingHeaders)
		return all[rand.New(rand.NewPCG(r.Seed, uint64(n))).IntN(len(all))]
	}
	return c
}
