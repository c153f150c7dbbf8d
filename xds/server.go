package xds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/grpclimit"
)

// Options configure a Server.
type Options struct {
	Logger *zap.Logger
	// Observer hears of pushes; required.
	Observer PushObserver
	// Hold bounds the wait for acknowledgements of one stage of a change. 0
	// means three seconds.
	Hold time.Duration
	// Reunion is how long after the start the absence of any extproc counts as
	// an acknowledgement that is missing: extprocs that lost an earlier run of
	// the server take a moment to come back. 0 means five seconds.
	Reunion time.Duration
	// Orders keeps what operators said of pods; nil keeps it in memory only.
	Orders OrderKeeper
	// Boot must differ between two runs of the server: it marks its versions.
	Boot string
	// Limits bound the clients.
	Limits ClientLimits
}

func (o *Options) validate() error {
	if o.Logger == nil || o.Observer == nil {
		return errors.New("xds: Logger and Observer are required")
	}
	if o.Boot == "" {
		return errors.New("xds: Boot is required: versions of two runs must differ")
	}
	if o.Hold == 0 {
		o.Hold = 3 * time.Second
	}
	o.Limits.fill()
	if o.Reunion == 0 {
		o.Reunion = 5 * time.Second
	}
	return nil
}

// Server owns the desk, the rollout and the caches, and changes them in one
// loop. Its other methods are safe for concurrent use; they wait for the loop.
type Server struct {
	opts    Options
	caches  *caches
	clients *clients
	guard   *grpclimit.Guard
	names   *grpclimit.Pool // that clients subscribe to
	edits   chan edit
	current atomic.Pointer[view]
	changed chan struct{}

	// Owned by the loop.
	desk    *Desk
	rollout Rollout
	change  time.Time // when the rollout's target was asked for
	kept    []Order
	reunion time.Time // until then the absence of extprocs is not their end
}

// view is a model with its index.
type view struct {
	model Model
	index *Index
}

// edit is a change of the desk; done gets its error, or nil once the first stage
// of the change is published.
type edit struct {
	apply func(d *Desk, now time.Time) error
	done  chan error
}

// New returns a server that holds no service yet.
func New(opts Options) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		opts:    opts,
		caches:  newCaches(opts.Boot + "-"),
		edits:   make(chan edit),
		changed: make(chan struct{}, 1),
		desk:    NewDesk(),
		rollout: Rollout{Hold: opts.Hold},
		names:   grpclimit.NewPool(keptNames, sharedNames*opts.Limits.Streams),
	}
	s.current.Store(&view{index: NewIndex(Model{})})
	s.clients = newClients(opts.Observer, s.refused)
	var err error
	if s.guard, err = newGuard(opts.Limits, s.names, opts.Logger); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) refused(row ClientStatus) {
	s.opts.Logger.Error("a client refused a push: it keeps its last good state",
		zap.String("node", row.Node), zap.String("type", row.Type), zap.String("version", row.Version), zap.String("reason", row.Reason))
}

// Run drives changes to the clients until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	s.reunion = time.Now().Add(s.opts.Reunion)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var tell chan error
		var result error
		select {
		case <-ctx.Done():
			return nil
		case e := <-s.edits:
			tell, result = e.done, s.edit(e.apply)
		case <-s.clients.changed:
		case <-timer.C:
		}
		wake, err := s.advance(time.Now())
		if err != nil {
			return err
		}
		if tell != nil {
			tell <- result
		}
		if timer.Stop(); !wake.IsZero() {
			timer.Reset(time.Until(wake))
		}
	}
}

// edit changes a copy's worth of facts and proves that the result can be
// built: what Envoy would refuse never becomes the target.
func (s *Server) edit(apply func(*Desk, time.Time) error) error {
	now := time.Now()
	before := s.desk.clone()
	if err := apply(s.desk, now); err != nil {
		s.desk = before
		return err
	}
	model := s.desk.Model()
	if _, err := Build(model); err != nil {
		s.desk = before
		return err
	}
	s.keepOrders()
	s.current.Store(&view{model, NewIndex(model)})
	if s.rollout.Set(model) {
		s.change = now
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// keepOrders saves the orders when they differ from those kept. One that cannot
// be saved is in force all the same, until a restart.
func (s *Server) keepOrders() {
	orders := s.desk.Orders()
	if s.opts.Orders == nil || slices.Equal(orders, s.kept) {
		return
	}
	if err := s.opts.Orders.Save(orders); err != nil {
		s.opts.Logger.Error("orders on pods will not outlive this process", zap.Error(err))
		return
	}
	s.kept = orders
}

// advance publishes every stage that is due.
func (s *Server) advance(now time.Time) (wake time.Time, err error) {
	// What is published is first pending, then sent, then answered.
	settled := func(a Audience) bool {
		if a == Extprocs && now.Before(s.reunion) && !s.clients.any(Extprocs) {
			return false
		}
		return !s.caches.pending(a) && s.clients.answered(a)
	}
	for {
		pubs, wake := s.rollout.Next(now, settled)
		if len(pubs) == 0 {
			return wake, nil
		}
		for _, p := range pubs {
			if err := s.publish(p); err != nil {
				return now, err
			}
		}
	}
}

func (s *Server) publish(p Publication) error {
	resources, err := Build(p.Model)
	if err != nil {
		return fmt.Errorf("build resources for %s: %w", p.To, err)
	}
	s.clients.publishing(p.To, s.change)
	return s.caches.publish(p.To, resources)
}

// do hands an edit to the loop and waits for it.
func (s *Server) do(ctx context.Context, apply func(d *Desk, now time.Time) error) error {
	e := edit{apply: apply, done: make(chan error, 1)}
	select {
	case s.edits <- e:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetConfig replaces gateway and services, and pods is called for each service
// whose source is not static. Any error leaves everything as it was.
func (s *Server) SetConfig(ctx context.Context, g Gateway, services []statefulroute.Service, pods map[string][]statefulroute.Pod) error {
	return s.do(ctx, func(d *Desk, now time.Time) error {
		d.SetConfig(now, g, services)
		for name, list := range pods {
			if err := d.SetPods(now, name, list); err != nil {
				return err
			}
		}
		return nil
	})
}

// SetPods replaces the pods of a service whose source is not static.
func (s *Server) SetPods(ctx context.Context, service string, pods []statefulroute.Pod) error {
	return s.do(ctx, func(d *Desk, now time.Time) error { return d.SetPods(now, service, pods) })
}

// SetOverride drains a pod, takes it out, or takes either back.
func (s *Server) SetOverride(ctx context.Context, service, pod string, state statefulroute.PodState) error {
	return s.do(ctx, func(d *Desk, _ time.Time) error { return d.SetOverride(service, pod, state) })
}

// Obey repeats the orders that an earlier run kept.
func (s *Server) Obey(ctx context.Context, orders []Order) error {
	return s.do(ctx, func(d *Desk, now time.Time) error { return d.Obey(now, orders) })
}

// SetHealth is what the health checks found of pods of a service; those that
// left in the meantime are passed over.
func (s *Server) SetHealth(ctx context.Context, service string, healthy map[string]bool) error {
	return s.do(ctx, func(d *Desk, _ time.Time) error {
		return forPods(healthy, func(pod string, ok bool) error { return d.SetHealthy(service, pod, ok) })
	})
}

// SetWeights is what the load made of the weights of a service's pods; pods
// that left in the meantime are passed over.
func (s *Server) SetWeights(ctx context.Context, service string, weights map[string]uint32) error {
	return s.do(ctx, func(d *Desk, _ time.Time) error {
		return forPods(weights, func(pod string, weight uint32) error { return d.SetWeight(service, pod, weight) })
	})
}

func forPods[V any](facts map[string]V, set func(pod string, v V) error) error {
	for pod, v := range facts {
		if err := set(pod, v); err != nil && !errors.Is(err, ErrUnknownPod) {
			return err
		}
	}
	return nil
}

// Changed is signalled after the model changed: for the prober, which is its
// only reader.
func (s *Server) Changed() <-chan struct{} { return s.changed }

// Model returns the services and pods as they are meant to be now. The result
// is shared: read only.
func (s *Server) Model() Model { return s.current.Load().model }

// Index finds the pods of the model.
func (s *Server) Index() *Index { return s.current.Load().index }

// Clients returns a row per connected client and resource type.
func (s *Server) Clients() []ClientStatus { return s.clients.list(time.Now()) }

// Serve answers xDS on the listener until ctx ends.
func (s *Server) Serve(ctx context.Context, listener net.Listener, register ...func(*grpc.Server)) error {
	server := grpc.NewServer(s.guard.ServerOptions()...)
	xdsCtx, stopStreams := context.WithCancel(ctx)
	defer stopStreams()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, serverv3.NewServer(xdsCtx, s.caches, s.clients.callbacks(), sotw.WithOrderedADS()))
	healthServer := health.NewServer()
	healthv1.RegisterHealthServer(server, healthServer)
	for _, r := range register {
		r(server)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(s.guard.Listener(listener)) })
	group.Go(func() error {
		<-ctx.Done()
		healthServer.Shutdown()
		stopStreams()
		// xDS streams never end by themselves: there is nothing to wait for.
		server.Stop()
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve xDS: %w", err)
	}
	return nil
}
