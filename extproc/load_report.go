package extproc

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/wire"
)

// LoadReporterOptions configures a LoadReporter.
type LoadReporterOptions struct {
	// Conn leads to xds-server. Required; the caller closes it.
	Conn grpc.ClientConnInterface
	// NodeID is the same as the Watcher's. Required.
	NodeID string
	// Directory has the pods and their response times. Required.
	Directory *Directory
	// Sessions counts the sessions of each pod. Required.
	Sessions SessionCounter
	// Usage, when set, is asked at each report what this process uses, and how many
	// live bindings it gave up for want of room since its start; only Run calls it.
	Usage func(now time.Time) analysis.ReplicaSample
	// MinBackoff and MaxBackoff bound the pause before a lost stream is opened
	// again. 0 means 100ms and 5s.
	MinBackoff, MaxBackoff time.Duration
	// Log receives connection changes. nil means silence.
	Log *zap.Logger
}

// LoadReporter tells xds-server, on the load reporting service that Envoys use
// as well, what only an extproc knows: the pods' response times and sessions, how
// many look-ups found a session, and what the process itself uses. xds-server
// says how often.
type LoadReporter struct {
	opts      LoadReporterOptions
	evictions uint64 // as of the last report
}

// NewLoadReporter returns a reporter that does nothing until Run.
func NewLoadReporter(o LoadReporterOptions) (*LoadReporter, error) {
	if o.Conn == nil || o.NodeID == "" || o.Directory == nil || o.Sessions == nil {
		return nil, errors.New("extproc: a load reporter needs Conn, NodeID, Directory and Sessions")
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
	return &LoadReporter{opts: o}, nil
}

// Run reports until ctx ends, reconnecting by itself, and returns ctx's error.
func (r *LoadReporter) Run(ctx context.Context) error {
	again := backoff{min: r.opts.MinBackoff, max: r.opts.MaxBackoff}
	for {
		useful, err := r.stream(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if useful {
			again.reset()
		}
		pause := again.pause()
		r.opts.Log.Info("load reports interrupted", zap.Error(err), zap.Duration("retry_in", pause))
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// stream reports on one stream to its end. useful says that the server took
// the stream up.
func (r *LoadReporter) stream(ctx context.Context) (useful bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	client, err := loadstatsv3.NewLoadReportingServiceClient(r.opts.Conn).StreamLoadStats(ctx, grpc.WaitForReady(true))
	if err != nil {
		cancel()
		return false, fmt.Errorf("open LRS stream: %w", err)
	}
	orders := make(chan *loadstatsv3.LoadStatsResponse)
	ended := make(chan error, 1)
	go func() { ended <- receiveOrders(ctx, client, orders) }()
	useful, err = r.follow(ctx, client, orders)
	cancel()
	if receiving := <-ended; err == nil {
		err = receiving
	}
	return useful, err
}

// receiveOrders hands the server's messages on until the stream ends, and then
// closes orders.
func receiveOrders(ctx context.Context, client loadstatsv3.LoadReportingService_StreamLoadStatsClient, orders chan<- *loadstatsv3.LoadStatsResponse) error {
	defer close(orders)
	for {
		m, err := client.Recv()
		if err != nil {
			return fmt.Errorf("receive from LRS: %w", err)
		}
		select {
		case orders <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow introduces itself and then reports as often as it was told last.
func (r *LoadReporter) follow(ctx context.Context, client loadstatsv3.LoadReportingService_StreamLoadStatsClient, orders <-chan *loadstatsv3.LoadStatsResponse) (useful bool, err error) {
	hello := &loadstatsv3.LoadStatsRequest{Node: &corev3.Node{Id: r.opts.NodeID, UserAgentName: wire.UserAgent}}
	if err := client.Send(hello); err != nil {
		return false, fmt.Errorf("send to LRS: %w", err)
	}
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	ticker.Stop() // until the server says how often
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return useful, ctx.Err()
		case order, open := <-orders:
			if !open {
				return useful, nil
			}
			useful = true
			ticker.Reset(reportInterval(order))
		case now := <-ticker.C:
			since := now.Sub(last)
			report := &loadstatsv3.LoadStatsRequest{ClusterStats: append(
				r.opts.Directory.loadReport(r.opts.Sessions, since), r.selfReport(now, since)...)}
			if last = now; client.Send(report) != nil {
				return useful, nil // the receiver has the reason
			}
		}
	}
}

// reportInterval bounds what the server asks for.
func reportInterval(order *loadstatsv3.LoadStatsResponse) time.Duration {
	return min(max(order.GetLoadReportingInterval().AsDuration(), 100*time.Millisecond), time.Minute)
}

// loadReport says of every pod of every service how fast it answered since the
// last report, and how many sessions it has; and of every service, how many
// look-ups found their session.
func (d *Directory) loadReport(sessions SessionCounter, since time.Duration) []*endpointv3.ClusterStats {
	var out []*endpointv3.ClusterStats
	for name, s := range d.all() {
		locality := &endpointv3.UpstreamLocalityStats{Locality: &corev3.Locality{}, LoadMetricStats: s.lookups.take()}
		least := math.MaxFloat64
		for _, pod := range s.pods {
			times := pod.times.take()
			if pod.State.TakesNew() {
				least = min(least, responses(times))
			}
			locality.UpstreamEndpointStats = append(locality.UpstreamEndpointStats, &endpointv3.UpstreamEndpointStats{
				Address:         socketAddress(pod.Pod),
				LoadMetricStats: append(times, loadMetric(wire.MetricSessions, float64(sessions.PodSessions(name, pod.Name)))),
			})
		}
		s.unbound.fine.Store(least < hardlySeen*since.Seconds())
		out = append(out, &endpointv3.ClusterStats{
			ClusterName:           name,
			UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{locality},
			LoadReportInterval:    durationpb.New(since),
		})
	}
	return out
}

// responses is the number of response times in a pod's report.
func responses(times []*endpointv3.EndpointLoadMetricStats) float64 {
	for _, m := range times {
		if m.GetMetricName() == wire.MetricResponseTime {
			return float64(m.GetNumRequestsFinishedWithMetric())
		}
	}
	return 0
}

func socketAddress(p statefulroute.Pod) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       p.Address.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(p.Address.Port())},
	}}}
}
