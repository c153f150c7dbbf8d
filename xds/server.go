package xds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/grpclimit"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/build"
	"github.com/stateful-route/stateful-route/xds/secret"
	"github.com/stateful-route/stateful-route/xds/state"
)

// Options configure a Server.
type Options struct {
	Logger *zap.Logger
	// Observer hears of pushes; required.
	Observer PushObserver
	// AckTimeout bounds how long a change waits for the answers of clients, and how long
	// a client that owes an answer is waited for at all. 0 means 500 ms: a pod's
	// move takes two waits, and is to be in effect within a second whatever clients do.
	AckTimeout time.Duration
	// ReconnectGrace is how long after the start the absence of any extproc, or any Envoy,
	// counts as an acknowledgement that is missing: those that lost an earlier run of
	// the server take a moment to come back. Until Envoys have, and have what they are
	// given, extprocs that come back are told nothing. 0 means five seconds.
	ReconnectGrace time.Duration
	// Overrides keeps what operators said of pods; nil keeps it in memory only.
	Overrides state.OverrideKeeper
	// Boot must differ between two runs of the server: it marks its versions.
	Boot string
	// Limits bound the clients.
	Limits ClientLimits
	// Credentials are those with which clients are answered. nil means none: anybody
	// who reaches the port is answered.
	Credentials credentials.TransportCredentials
}

func (o *Options) validate() error {
	if o.Logger == nil || o.Observer == nil {
		return errors.New("xds: Logger and Observer are required")
	}
	if o.Boot == "" {
		return errors.New("xds: Boot is required: versions of two runs must differ")
	}
	if o.AckTimeout == 0 {
		o.AckTimeout = 500 * time.Millisecond
	}
	o.Limits.fill()
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	}
	if o.ReconnectGrace == 0 {
		o.ReconnectGrace = 5 * time.Second
	}
	return nil
}

// Server owns the store, the rollout and the caches, and changes them in one
// loop. Its other methods are safe for concurrent use; they wait for the loop.
type Server struct {
	opts    Options
	caches  *caches
	clients *clients
	guard   *grpclimit.Guard
	names   *grpclimit.Pool // that clients subscribe to
	edits   chan edit
	serves  chan struct{} // closed when clients can come
	current atomic.Pointer[state.Model]
	changed chan struct{}

	// Owned by the loop.
	store          *state.Store
	rollout        Rollout
	builder        *build.Builder
	given          [2]map[string]given // what the clients have of each service
	shared         build.Resources     // what Envoys have of the rest
	reconnectUntil time.Time           // until then the absence of clients is not their end
	serving        bool                // clients can come
	released       bool                // extprocs that come back are answered
	restored       bool                // the overrides of the run before are known
}

// edit is a change of the store; done gets its error, or nil once what can be told
// of it at once is published.
type edit struct {
	apply func(st *state.Store, now time.Time) error
	done  chan error
}

// New returns a server that holds no service yet.
func New(opts Options) (*Server, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		opts:    opts,
		edits:   make(chan edit),
		serves:  make(chan struct{}),
		changed: make(chan struct{}, 1),
		store:   state.NewStore(),
		rollout: Rollout{AckTimeout: opts.AckTimeout},
		builder: build.NewBuilder(),
		given:   [2]map[string]given{{}, {}},
		shared:  build.NewResources(),
		names:   grpclimit.NewPool(keptNames, sharedNames*opts.Limits.Streams),
	}
	s.current.Store(&state.Model{})
	s.clients = newClients(opts.Observer, s.refused, opts.AckTimeout)
	s.caches = newCaches(opts.Boot+"-", s.clients, opts.Logger)
	s.clients.sequence, s.clients.left, s.clients.onCallout = s.caches.sequence, s.caches.forget, s.withoutModule
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

func (s *Server) withoutModule(node, reason string) {
	s.opts.Logger.Warn("an Envoy that asks for the module is given listeners without it: it asks extproc about every request",
		zap.String("node", node), zap.String("reason", reason))
}

// Run drives changes to the clients until ctx ends. Nothing that it is told can
// end it: what cannot be built is refused, and what was good before stays.
func (s *Server) Run(ctx context.Context) error {
	s.reconnectUntil = time.Now().Add(s.opts.ReconnectGrace)
	timer := time.NewTimer(0)
	defer timer.Stop()
	serves := s.serves
	for {
		var tell chan error
		var result error
		select {
		case <-ctx.Done():
			return nil
		case e := <-s.edits:
			tell, result = e.done, s.edit(e.apply)
		case <-serves:
			serves, s.serving, s.reconnectUntil = nil, true, time.Now().Add(s.opts.ReconnectGrace)
		case <-s.clients.changed:
		case <-timer.C:
		}
		wake := s.advance(time.Now())
		if tell != nil {
			tell <- result
		}
		if timer.Stop(); !wake.IsZero() {
			timer.Reset(time.Until(wake))
		}
	}
}

// edit changes the facts and proves that the services which they change can be
// built: what Envoy would refuse never becomes the target.
func (s *Server) edit(apply func(*state.Store, time.Time) error) error {
	now := time.Now()
	done, err := s.store.Edit(func(st *state.Store) error { return apply(st, now) }, s.check)
	if err != nil {
		return err
	}
	if s.opts.Overrides != nil && s.restored && done.Overrides {
		s.opts.Overrides.Keep(s.store.Overrides())
	}
	before, model := s.Model(), s.store.Model()
	s.current.Store(&model)
	s.rollout.Set(now, model, done.Services, done.Gone)
	if done.Facts || !maps.Equal(before.Gateway.Secrets, model.Gateway.Secrets) {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	return nil
}

// check builds what an edit changed.
func (s *Server) check(model state.Model, done state.Change) error {
	before := s.Model()
	shared := !reflect.DeepEqual(before.Gateway, model.Gateway)
	for _, svc := range done.Services {
		if _, err := s.builder.Target(svc); err != nil {
			return err
		}
		had, ok := before.Service(svc.Name)
		shared = shared || !ok || !had.SamePolicy(svc)
	}
	if !shared {
		return nil
	}
	_, err := build.Shared(model)
	return err
}

// advance publishes everything that is due.
func (s *Server) advance(now time.Time) (wake time.Time) {
	again := s.release(now)
	for {
		pubs, wake := s.rollout.Next(now, func(a wire.ClientType) Progress { return s.progress(now, a) })
		if len(pubs) > 0 {
			s.publish(pubs)
			continue
		}
		if !again.IsZero() && (wake.IsZero() || again.Before(wake)) {
			wake = again
		}
		return wake
	}
}

// progress is how far the clients of a type are. After a restart extprocs are waited for until
// they have come back, are told something, and have answered that or lag.
func (s *Server) progress(now time.Time, a wire.ClientType) Progress {
	p := s.clients.progress(now, a)
	switch {
	case a != wire.Extproc || !now.Before(s.reconnectUntil):
	case !s.clients.any(wire.Extproc) || s.caches.holdsBack():
		p.Acked, p.ExpectedUntil = 0, s.reconnectUntil
	default:
		p.ExpectedUntil = p.LagsAt
	}
	return p
}

// release has extprocs that came back be answered once Envoys have the endpoints in force. What
// this run begins with may have pods that the one before had not, and extprocs are not to
// choose them earlier. Who came back with nothing has nothing to go on with, and is not held.
// again is when to look again at the latest; zero: never.
func (s *Server) release(now time.Time) (again time.Time) {
	if !s.serving || s.released {
		return time.Time{}
	}
	all, again := s.clients.inForce(now, wire.Envoy)
	if !all && now.Before(s.reconnectUntil) {
		if again.IsZero() || s.reconnectUntil.Before(again) {
			again = s.reconnectUntil
		}
		return again
	}
	s.released = true
	s.caches.release()
	return time.Time{}
}

// do hands an edit to the loop and waits for it.
func (s *Server) do(ctx context.Context, apply func(st *state.Store, now time.Time) error) error {
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

// SetConfig replaces gateway and services, and the pods of those services whose
// source is not static and that pods names. Any error leaves everything as it was.
func (s *Server) SetConfig(ctx context.Context, g state.Gateway, services []statefulroute.Service, pods map[string][]statefulroute.Pod) error {
	return s.do(ctx, func(st *state.Store, now time.Time) error {
		st.SetConfig(now, g, services)
		for _, svc := range services {
			if list, ok := pods[svc.Name]; ok && svc.Pods.Static == nil {
				if err := st.SetPods(now, svc.Name, svc.Pods, list); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// SetSecrets replaces the secrets that the configuration in force names.
func (s *Server) SetSecrets(ctx context.Context, secrets map[string]*secret.Secret) error {
	return s.do(ctx, func(st *state.Store, _ time.Time) error { st.SetSecrets(secrets); return nil })
}

// SetPods replaces the pods of a service by those that were found at a source. If
// the service has another source by now, it is ErrOtherSource, and nothing changes.
func (s *Server) SetPods(ctx context.Context, service string, from statefulroute.PodSource, pods []statefulroute.Pod) error {
	return s.do(ctx, func(st *state.Store, now time.Time) error { return st.SetPods(now, service, from, pods) })
}

// SetOverride drains a pod, takes it out, or takes either back, and returns once
// that is in force and saved. ErrNotSaved means that it is in force only.
func (s *Server) SetOverride(ctx context.Context, service, pod string, to statefulroute.PodState) error {
	err := s.do(ctx, func(st *state.Store, _ time.Time) error { return st.SetOverride(service, pod, to) })
	if err != nil || s.opts.Overrides == nil {
		return err
	}
	if err := s.opts.Overrides.Saved(ctx); err != nil {
		return fmt.Errorf("%w: %w", state.ErrNotSaved, err)
	}
	return nil
}

// keeps reports whether overrides outlive the process.
func (s *Server) keeps() bool { return s.opts.Overrides != nil }

// Restore repeats the overrides that an earlier run kept. Before that no override is given
// to the keeper, which would forget those.
func (s *Server) Restore(ctx context.Context, overrides []state.Override) error {
	return s.do(ctx, func(st *state.Store, now time.Time) error {
		s.restored = true
		return st.Restore(now, overrides)
	})
}

// SetHealth is what the health checks found of pods by service; those that left
// in the meantime are passed over.
func (s *Server) SetHealth(ctx context.Context, verdicts map[string]map[string]state.HealthVerdict) error {
	return s.do(ctx, func(st *state.Store, _ time.Time) error { return forPods(verdicts, st.SetHealth) })
}

// SetWeights is what the load made of the weights of pods by service; pods that
// left in the meantime are passed over.
func (s *Server) SetWeights(ctx context.Context, weights map[string]map[string]uint32) error {
	return s.do(ctx, func(st *state.Store, _ time.Time) error { return forPods(weights, st.SetWeight) })
}

func forPods[V any](facts map[string]map[string]V, set func(service, pod string, v V) error) error {
	for service, pods := range facts {
		for pod, v := range pods {
			if err := set(service, pod, v); err != nil && !errors.Is(err, state.ErrUnknownPod) {
				return err
			}
		}
	}
	return nil
}

// Changed is signalled after the model changed in more than weights: for the
// prober, which is its only reader.
func (s *Server) Changed() <-chan struct{} { return s.changed }

// Model returns the services and pods as they are meant to be now. The result
// is shared: read only.
func (s *Server) Model() state.Model { return *s.current.Load() }

// Clients returns a row per connected client and resource type.
func (s *Server) Clients() []ClientStatus { return s.clients.list(time.Now()) }

// Serve answers xDS on the listener until ctx ends. It is called once, and Run has to run meanwhile.
func (s *Server) Serve(ctx context.Context, listener net.Listener, register ...func(*grpc.Server)) error {
	close(s.serves)
	server := grpc.NewServer(append(s.guard.ServerOptions(), grpc.Creds(s.opts.Credentials))...)
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
