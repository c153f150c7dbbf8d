package grpclimit

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/stateful-route/stateful-route/internal/connlimit"
)

// Options are the bounds of one server.
type Options struct {
	// Connections is how many may be open; one remote address that is not this
	// machine's gets half of them. Required. It is lowered to three quarters of the
	// files that the process may open.
	Connections int
	// Streams is how many may be open on all connections, at least one for each
	// connection. Required. Half of them is kept for the connections in equal
	// parts, the other half is for whoever needs more.
	Streams int
	// MessageSize bounds a message that a client sends, in bytes. Required.
	MessageSize int
	// ReadBuffer is what each connection keeps for reading, in bytes. 0 means
	// 32 KiB, gRPC's own.
	ReadBuffer int
	// Idle is after how long a connection without a stream is closed, in the
	// orderly way. 0 means never.
	Idle time.Duration
	// Ping is after how long of silence a client is asked whether it is there; one
	// that does not answer within ten seconds is gone. 0 means a minute.
	Ping time.Duration
	// MinPing is how often clients may ping; one that does so more often is cut. 0
	// means 5s.
	MinPing time.Duration
	// Inspect gives each stream of a method its inspector. nil means that messages
	// are bounded by their size alone.
	Inspect func(method string) Inspector
	// Log hears of refusals, thinned. nil means silence.
	Log *zap.Logger
}

func (o *Options) validate() error {
	switch {
	case o.Connections < 1:
		return fmt.Errorf("grpclimit: Connections is %d: at least 1 is needed", o.Connections)
	case o.Streams < o.Connections:
		return fmt.Errorf("grpclimit: Streams is %d: at least one for each of %d connections is needed", o.Streams, o.Connections)
	case o.MessageSize < 1:
		return fmt.Errorf("grpclimit: MessageSize is %d: at least 1 is needed", o.MessageSize)
	}
	if o.ReadBuffer == 0 {
		o.ReadBuffer = 32 << 10
	}
	if o.Ping == 0 {
		o.Ping = time.Minute
	}
	if o.MinPing == 0 {
		o.MinPing = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return nil
}

const (
	// maxHeaders bounds the headers of a stream, which are kept as long as it is
	// open: 16 MB by default. Envoy sends a few hundred bytes, and what a client's
	// trace context carries as baggage, of which the standard lets 8 KiB pass.
	maxHeaders = 16 << 10
	// window is what a stream may send before it is read. gRPC's own grows to 16 MB.
	window = 64 << 10
	// connWindow is the same for a connection. It is given back as fast as frames
	// are read, so that it bounds a throughput and no memory.
	connWindow = 1 << 20
	// handshake is how long a connection may take to become an HTTP/2 one.
	handshake = 10 * time.Second
	// pingTimeout is how long a client may take to answer a ping.
	pingTimeout = 10 * time.Second
)

// Guard holds a server's bounds and what is open. It is a prometheus.Collector.
type Guard struct {
	opts     Options
	conns    *connlimit.Limit
	streams  *Pool
	open     atomic.Int64 // streams
	refusals *refusals

	connsGauge, streamsGauge prometheus.GaugeFunc
}

// New returns the guard of a server.
func New(o Options) (*Guard, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	conns := connlimit.New(o.Connections)
	if n := conns.Most(); n < o.Connections {
		o.Log.Warn("fewer gRPC connections than configured: the process may not open so many files",
			zap.Int("configured", o.Connections), zap.Int("connections", n))
		o.Connections = n
	}
	each := max(1, o.Streams/2/o.Connections)
	g := &Guard{
		opts:     o,
		conns:    conns,
		streams:  NewPool(each, o.Streams-each*o.Connections),
		refusals: newRefusals(o.Log),
	}
	g.connsGauge = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stateful_route_grpc_connections", Help: "Open connections of gRPC clients.",
	}, func() float64 { return float64(g.conns.Open()) })
	g.streamsGauge = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stateful_route_grpc_streams", Help: "Open streams of gRPC clients.",
	}, func() float64 { return float64(g.open.Load()) })
	for _, limit := range []string{connlimit.All, limitStreams, limitMessageSize} {
		g.refusals.total.WithLabelValues(limit) // served as 0, so that the first one is seen as an increase
	}
	return g, nil
}

// ServerOptions are those of the server; the caller may add its own.
func (g *Guard) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		// A client that respects what it is told shall hear our status, not wait:
		// the interceptors count, this ends what races them.
		grpc.MaxConcurrentStreams(uint32(min(int64(g.opts.Streams)+64, 1<<31-1))),
		grpc.MaxRecvMsgSize(g.opts.MessageSize),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(connWindow),
		grpc.ReadBufferSize(g.opts.ReadBuffer),
		grpc.ConnectionTimeout(handshake),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: g.opts.Idle, Time: g.opts.Ping, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: g.opts.MinPing, PermitWithoutStream: true}),
		grpc.ChainStreamInterceptor(g.stream),
		grpc.ChainUnaryInterceptor(g.unary),
	}
}

// Streams is how many streams are open.
func (g *Guard) Streams() int { return int(g.open.Load()) }

// Describe implements prometheus.Collector.
func (g *Guard) Describe(ch chan<- *prometheus.Desc) {
	g.refusals.total.Describe(ch)
	g.connsGauge.Describe(ch)
	g.streamsGauge.Describe(ch)
}

// Collect implements prometheus.Collector.
func (g *Guard) Collect(ch chan<- prometheus.Metric) {
	g.refusals.total.Collect(ch)
	g.connsGauge.Collect(ch)
	g.streamsGauge.Collect(ch)
}
