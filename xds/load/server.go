package load

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Server is the LRS server: Envoys report requests and errors per pod on
// it, extprocs response times and sessions.
type Server struct {
	loadstatsv3.UnimplementedLoadReportingServiceServer
	// Loads books the reports.
	Loads *Store
	// Pods names the pods of the addresses that clients report on.
	Pods func() Pods
	// Interval is how often clients shall report; 0 means once a second.
	Interval time.Duration

	streams atomic.Uint64
}

// RegisterOn adds the service to a gRPC server.
func (s *Server) RegisterOn(server *grpc.Server) {
	loadstatsv3.RegisterLoadReportingServiceServer(server, s)
}

// StreamLoadStats serves one client for as long as it stays.
func (s *Server) StreamLoadStats(stream grpc.BidiStreamingServer[loadstatsv3.LoadStatsRequest, loadstatsv3.LoadStatsResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return ended(err)
	}
	// Two clients may share a node id: the stream tells them apart.
	node := first.GetNode().GetId()
	client := fmt.Sprintf("%s#%d", strings.ToValidUTF8(node[:min(len(node), longestName)], ""), s.streams.Add(1))
	defer s.Loads.Forget(client)
	interval := s.Interval
	if interval == 0 {
		interval = time.Second
	}
	err = stream.Send(&loadstatsv3.LoadStatsResponse{
		SendAllClusters:           true,
		ReportEndpointGranularity: true,
		LoadReportingInterval:     durationpb.New(interval),
	})
	pace := reportPace{interval: interval}
	for report := first; err == nil; report, err = stream.Recv() {
		now := time.Now()
		if !pace.admit(now) {
			s.Loads.Refuse(refusedTooOften)
			if pace.refused > mostRefused {
				return status.Errorf(codes.ResourceExhausted, "%d load reports in a row came sooner than every %v: report as often as asked", pace.refused, interval)
			}
			continue
		}
		s.Loads.Report(now, client, report.GetClusterStats(), s.Pods())
	}
	return ended(err)
}

const (
	// reportsAtOnce is how many reports of a client are taken together, after a
	// pause of the network, and reportsPerInterval how many on average.
	reportsAtOnce      = 5
	reportsPerInterval = 2
	// mostRefused is how many reports may be refused in a row before the stream is
	// ended.
	mostRefused = 100
	// longestName is how much of a node's id is kept.
	longestName = 256
)

// reportPace is a token bucket of one client's reports.
type reportPace struct {
	interval time.Duration
	used     float64 // of reportsAtOnce
	last     time.Time
	refused  int // in a row
}

func (p *reportPace) admit(now time.Time) bool {
	p.used = max(p.used-reportsPerInterval*float64(now.Sub(p.last))/float64(p.interval), 0)
	p.last = now
	if p.used+1 > reportsAtOnce {
		p.refused++
		return false
	}
	p.used++
	p.refused = 0
	return true
}

// ended tells a client that went away from a failure.
func ended(err error) error {
	if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}
