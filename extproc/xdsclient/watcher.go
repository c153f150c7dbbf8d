package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// Services is where a Watcher puts what it learns.
type Services interface {
	// Check refuses a service that could not be set.
	Check(statefulroute.Service) error
	// Update brings the services of set into force and takes those called gone
	// out of it, before it returns. complete says that every service announced
	// has its pods.
	Update(set []wire.ServiceState, gone []string, complete bool)
}

// WatcherOptions configures a Watcher.
type WatcherOptions struct {
	// Conn leads to xds-server. Required; the caller closes it.
	Conn grpc.ClientConnInterface
	// NodeID is the xDS node id, for example "extproc/HOSTNAME-1". Required.
	NodeID string
	// Version is sent as the node's user_agent_version; empty sends none.
	Version string
	// Services receives each accepted state. Required.
	Services Services
	// MinBackoff and MaxBackoff bound the pause before a lost stream is opened
	// again; it doubles and is jittered. 0 means 100ms and 5s.
	MinBackoff, MaxBackoff time.Duration
	// StateFile is where the last good services and pods are kept for the next
	// process; empty keeps none. See Restore.
	StateFile string
	// OnSaved, when set, is told of every attempt to write StateFile; nil is success.
	OnSaved func(error)
	// Now is the clock. nil means time.Now.
	Now func() time.Time
	// OnNack, when set, is told of every response that was refused.
	OnNack func(typeURL string, err error)
	// Log receives connection changes and refusals. nil means silence.
	Log *zap.Logger
}

// Watcher is a client of xds-server: one delta ADS stream that carries the
// services (CDS) and their pods (EDS). A response is acknowledged after it is
// in force, which is what lets xds-server order a roll-out by acknowledgements;
// a bad one is refused with its reason and the last good state kept. While
// xds-server is away the state stays as it is.
type Watcher struct {
	opts WatcherOptions

	mu    sync.Mutex  // between the stream, which alone changes these two, and others
	state *watchState // read by the stream without mu
	fresh Freshness

	changed chan struct{} // of size 1: the state is to be saved
	failing bool          // of save: the last attempt failed
}

// NewWatcher returns a watcher that does nothing until Run.
func NewWatcher(o WatcherOptions) (*Watcher, error) {
	if o.Conn == nil || o.NodeID == "" || o.Services == nil {
		return nil, errors.New("extproc: a watcher needs Conn, NodeID and Services")
	}
	if o.MinBackoff <= 0 {
		o.MinBackoff = 100 * time.Millisecond
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Watcher{opts: o, state: newWatchState(o.Services.Check), changed: make(chan struct{}, 1)}, nil
}

// Run watches until ctx ends, reconnecting by itself, and returns ctx's error.
func (w *Watcher) Run(ctx context.Context) error {
	var saving sync.WaitGroup
	defer saving.Wait()
	if w.opts.StateFile != "" {
		saving.Go(func() { w.save(ctx) })
	}
	again := backoff{min: w.opts.MinBackoff, max: w.opts.MaxBackoff}
	for {
		answered, err := w.stream(ctx)
		if ctx.Err() != nil {
			return ctx.Err() // what is in force is as good as it was until now
		}
		w.lost()
		if answered {
			again.reset()
		}
		pause := again.pause()
		w.opts.Log.Warn("xDS stream lost; the last state stays in force",
			zap.Error(err), zap.Duration("retry_in", pause))
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// stream runs one ADS stream to its end. answered reports whether the server
// sent anything, that is, whether the connection was of use.
func (w *Watcher) stream(ctx context.Context) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := discoveryv3.NewAggregatedDiscoveryServiceClient(w.opts.Conn).
		DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		return false, fmt.Errorf("open ADS stream: %w", err)
	}
	s := &adsStream{watcher: w, client: client, subscribed: map[string]bool{}}
	if err := s.begin(); err != nil {
		return false, err
	}
	for {
		r, err := client.Recv()
		if err != nil {
			return answered, fmt.Errorf("receive from ADS: %w", err)
		}
		if !answered {
			answered = true
			w.opts.Log.Info("xDS stream established")
		}
		if err := s.handle(r); err != nil {
			return answered, err
		}
	}
}

// adsStream is what ends with one stream: its subscriptions. One goroutine
// receives and sends, so there is nothing to lock.
type adsStream struct {
	watcher    *Watcher
	client     discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	subscribed map[string]bool // EDS resources
	askedPods  bool
}

// begin asks for all clusters and, on a resumed stream, for the endpoints
// already known of.
func (s *adsStream) begin() error {
	st := s.watcher.state
	err := s.send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{
			Id:            s.watcher.opts.NodeID,
			UserAgentName: wire.UserAgent,
			UserAgentVersionType: &corev3.Node_UserAgentVersion{
				UserAgentVersion: s.watcher.opts.Version,
			},
		},
		TypeUrl:                 clusterType,
		ResourceNamesSubscribe:  []string{"*"},
		InitialResourceVersions: st.clusterVersions(),
	})
	if err != nil {
		return err
	}
	return s.subscribe(st.wanted())
}

// handle applies one response, answers it, and follows with the subscriptions
// it calls for.
func (s *adsStream) handle(r *discoveryv3.DeltaDiscoveryResponse) error {
	w := s.watcher
	w.mu.Lock()
	changed, refused := w.state.apply(r)
	w.mu.Unlock()
	if refused == nil {
		w.opts.Services.Update(changed.set, changed.gone, w.state.complete())
		w.answered()
		w.noteChange(changed)
	} else {
		w.opts.Log.Error("xDS response refused; the last good state stays in force",
			zap.String("type", r.GetTypeUrl()), zap.Error(refused))
		if w.opts.OnNack != nil {
			w.opts.OnNack(r.GetTypeUrl(), refused)
		}
	}
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if refused != nil {
		answer.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: refused.Error()}
	}
	if err := s.send(answer); err != nil {
		return err
	}
	return s.subscribe(changed.assignments)
}

// subscribe tells the server which of the assignments are wanted now and were not,
// or the other way round, on this stream.
func (s *adsStream) subscribe(assignments []string) error {
	st := s.watcher.state
	r := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: endpointType}
	for _, name := range assignments {
		switch wanted := st.wants(name); {
		case wanted && !s.subscribed[name]:
			s.subscribed[name] = true
			r.ResourceNamesSubscribe = append(r.ResourceNamesSubscribe, name)
		case !wanted && s.subscribed[name]:
			delete(s.subscribed, name)
			r.ResourceNamesUnsubscribe = append(r.ResourceNamesUnsubscribe, name)
		}
	}
	if len(r.ResourceNamesSubscribe)+len(r.ResourceNamesUnsubscribe) == 0 {
		return nil
	}
	if !s.askedPods { // only the first request of a type may carry versions
		r.InitialResourceVersions = st.assignmentVersions(r.ResourceNamesSubscribe)
		s.askedPods = true
	}
	return s.send(r)
}

func (s *adsStream) send(r *discoveryv3.DeltaDiscoveryRequest) error {
	if err := s.client.Send(r); err != nil {
		return fmt.Errorf("send to ADS: %w", err)
	}
	return nil
}
