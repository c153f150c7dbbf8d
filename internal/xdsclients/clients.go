// Package xdsclients are xDS clients for tests and benchmarks: ones that do as
// they should, and ones that hang in every way a client can.
//
//	c, err := xdsclients.Start(ctx, xdsclients.Options{Address: addr, Protocol: "delta", Agent: "envoy", Kind: xdsclients.Silent})
//	...
//	defer c.Stop()
package xdsclients

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/stateful-route/stateful-route/wire"
)

// Kind is how a client behaves.
type Kind string

// The kinds. All connect and subscribe to clusters and their endpoints.
const (
	Good Kind = "good"
	// Silent reads everything and acknowledges nothing.
	Silent Kind = "silent"
	// Refusing refuses everything.
	Refusing Kind = "refusing"
	// Stopped is a process that was stopped once it had everything: nobody reads its
	// socket.
	Stopped Kind = "stopped"
	// Full is stopped, too, with a small buffer and no flow control that would keep the
	// server from filling it.
	Full Kind = "full"
	// HalfOpen has vanished: what it is sent is not acknowledged, and nothing says so.
	HalfOpen Kind = "half-open"
	// Reconnecting comes back ten times a second.
	Reconnecting Kind = "reconnecting"
)

// Hanging are all kinds but the good one.
func Hanging() []Kind { return []Kind{Silent, Refusing, Stopped, Full, HalfOpen, Reconnecting} }

// Options say which client to start.
type Options struct {
	Address  string
	Protocol string // delta or sotw
	Agent    string // user agent name: wire.UserAgent makes it an extproc
	Kind     Kind
	// Seen is called with each load assignment that arrives; nil is fine.
	Seen func(*endpointv3.ClusterLoadAssignment)
}

// Client is a client that runs until Stop.
type Client struct {
	opts   Options
	cancel context.CancelFunc
	done   chan struct{}
	ready  chan struct{} // closed when endpoints arrived first
	once   sync.Once
	frozen atomic.Bool
}

// Start connects a client. It returns when the client has what it subscribed to
// and hangs, if it is to.
func Start(ctx context.Context, opts Options) (*Client, error) {
	runCtx, cancel := context.WithCancel(ctx)
	c := &Client{opts: opts, cancel: cancel, done: make(chan struct{}), ready: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.run(runCtx)
	}()
	select {
	case <-c.ready:
		return c, nil
	case <-ctx.Done():
	case <-time.After(30 * time.Second):
	}
	c.Stop()
	return nil, fmt.Errorf("a %s client was sent no endpoints", opts.Kind)
}

// Stop ends the client and waits for its end.
func (c *Client) Stop() {
	c.cancel()
	<-c.done
}

func (c *Client) run(ctx context.Context) {
	for ctx.Err() == nil {
		c.live(ctx)
	}
}

// live is one life of a client, which for most kinds is all there is.
func (c *Client) live(ctx context.Context) {
	if c.opts.Kind == Reconnecting {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
	}
	c.connect(ctx)
	<-ctx.Done()
}

// connect serves one stream until ctx, or the stream, ends.
func (c *Client) connect(ctx context.Context) {
	conn, err := grpc.NewClient("passthrough:///"+c.opts.Address, c.dialOptions()...)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	s, err := open(ctx, conn, c.opts)
	if err != nil {
		return
	}
	if s.request(resourcev3.ClusterType, nil, message{}, nil) != nil {
		return
	}
	for {
		m, err := s.receive()
		if err != nil {
			return
		}
		if !c.handle(s, m) {
			<-ctx.Done()
			return
		}
	}
}

func (c *Client) dialOptions() []grpc.DialOption {
	opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(c.dial)}
	if c.opts.Kind == Full {
		opts = append(opts, grpc.WithInitialWindowSize(64<<20), grpc.WithInitialConnWindowSize(64<<20))
	}
	return opts
}

// handle takes a response and reports whether the client goes on.
func (c *Client) handle(s stream, m message) bool {
	names := s.names(m)
	if m.typeURL == resourcev3.EndpointType {
		c.see(m)
		c.once.Do(func() { close(c.ready) })
		switch c.opts.Kind {
		case Stopped, Full, HalfOpen:
			c.frozen.Store(true)
			return false
		case Good, Silent, Refusing, Reconnecting:
		}
	}
	switch c.opts.Kind {
	case Silent:
	case Refusing:
		if s.request(m.typeURL, names, m, &status.Status{Code: 3, Message: "refused by habit"}) != nil {
			return false
		}
	case Good, Stopped, Full, HalfOpen, Reconnecting:
		if s.request(m.typeURL, names, m, nil) != nil {
			return false
		}
	}
	if m.typeURL == resourcev3.ClusterType {
		return s.subscribe(edsNames(m)) == nil
	}
	return true
}

func (c *Client) see(m message) {
	if c.opts.Seen == nil {
		return
	}
	for _, raw := range m.resources {
		var a endpointv3.ClusterLoadAssignment
		if raw.UnmarshalTo(&a) == nil {
			c.opts.Seen(&a)
		}
	}
}

func edsNames(m message) []string {
	names := map[string]struct{}{}
	for _, raw := range m.resources {
		var cl clusterv3.Cluster
		if raw.UnmarshalTo(&cl) == nil && cl.GetEdsClusterConfig() != nil {
			names[cl.GetEdsClusterConfig().GetServiceName()] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (c *Client) dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && c.opts.Kind == Full {
		_ = tcp.SetReadBuffer(2 << 10) // smaller is better, and not needed
	}
	return &freezable{Conn: conn, client: c, closed: make(chan struct{})}, nil
}

// freezable is a connection whose process stops, or vanishes.
type freezable struct {
	net.Conn
	client *Client
	closed chan struct{}
	once   sync.Once
}

// Read blocks for ever once the client is frozen.
func (f *freezable) Read(p []byte) (int, error) {
	if f.client.frozen.Load() {
		<-f.closed
		return 0, net.ErrClosed
	}
	n, err := f.Conn.Read(p)
	if f.client.frozen.Load() {
		<-f.closed
		return 0, net.ErrClosed
	}
	return n, err
}

// Write loses what a frozen client would say.
func (f *freezable) Write(p []byte) (int, error) {
	if f.client.frozen.Load() {
		return len(p), nil
	}
	return f.Conn.Write(p)
}

// Close ends a read that blocks.
func (f *freezable) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Conn.Close()
}

func node(o Options) *corev3.Node {
	return &corev3.Node{Id: string(o.Kind) + "-" + o.Protocol, UserAgentName: o.Agent}
}

// IsExtproc reports whether the options make an extproc.
func (o Options) IsExtproc() bool { return o.Agent == wire.UserAgent }

func open(ctx context.Context, conn *grpc.ClientConn, o Options) (stream, error) {
	ads := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	if o.Protocol == "delta" {
		s, err := ads.DeltaAggregatedResources(ctx)
		return &delta{stream: s, node: node(o)}, err
	}
	s, err := ads.StreamAggregatedResources(ctx)
	return &sotw{stream: s, node: node(o)}, err
}
