package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/wire"
)

// LoadReporterOptions configures a LoadReporter.
type LoadReporterOptions struct {
	// Conn leads to xds-server. Required; the caller closes it.
	Conn grpc.ClientConnInterface
	// NodeID is the same as the Watcher's. Required.
	NodeID string
	// Report is asked at each report what is known of the services' pods; only Run
	// calls it. Required.
	Report func(since time.Duration) []*endpointv3.ClusterStats
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
	if o.Conn == nil || o.NodeID == "" || o.Report == nil {
		return nil, errors.New("extproc: a load reporter needs Conn, NodeID and Report")
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
	intervals := make(chan *loadstatsv3.LoadStatsResponse)
	ended := make(chan error, 1)
	go func() { ended <- receiveIntervals(ctx, client, intervals) }()
	useful, err = r.follow(ctx, client, intervals)
	cancel()
	if receiving := <-ended; err == nil {
		err = receiving
	}
	return useful, err
}

// receiveIntervals hands the server's messages on until the stream ends, and then
// closes intervals.
func receiveIntervals(ctx context.Context, client loadstatsv3.LoadReportingService_StreamLoadStatsClient, intervals chan<- *loadstatsv3.LoadStatsResponse) error {
	defer close(intervals)
	for {
		m, err := client.Recv()
		if err != nil {
			return fmt.Errorf("receive from LRS: %w", err)
		}
		select {
		case intervals <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// follow introduces itself and then reports as often as it was told last.
func (r *LoadReporter) follow(ctx context.Context, client loadstatsv3.LoadReportingService_StreamLoadStatsClient, intervals <-chan *loadstatsv3.LoadStatsResponse) (useful bool, err error) {
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
		case answer, open := <-intervals:
			if !open {
				return useful, nil
			}
			useful = true
			ticker.Reset(reportInterval(answer))
		case now := <-ticker.C:
			since := now.Sub(last)
			report := &loadstatsv3.LoadStatsRequest{ClusterStats: append(
				r.opts.Report(since), r.selfReport(now, since)...)}
			if last = now; client.Send(report) != nil {
				return useful, nil // the receiver has the reason
			}
		}
	}
}

// reportInterval bounds what the server asks for.
func reportInterval(answer *loadstatsv3.LoadStatsResponse) time.Duration {
	return min(max(answer.GetLoadReportingInterval().AsDuration(), 100*time.Millisecond), time.Minute)
}
