package xds

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// LoadService is the LRS server: Envoys report requests and errors per pod on
// it, extprocs response times and sessions.
type LoadService struct {
	loadstatsv3.UnimplementedLoadReportingServiceServer
	// Loads books the reports.
	Loads *Loads
	// Index names the pods of the addresses that clients report on.
	Index func() *Index
	// Interval is how often clients shall report; 0 means once a second.
	Interval time.Duration

	streams atomic.Uint64
}

// RegisterOn adds the service to a gRPC server.
func (s *LoadService) RegisterOn(server *grpc.Server) {
	loadstatsv3.RegisterLoadReportingServiceServer(server, s)
}

// StreamLoadStats serves one client for as long as it stays.
func (s *LoadService) StreamLoadStats(stream grpc.BidiStreamingServer[loadstatsv3.LoadStatsRequest, loadstatsv3.LoadStatsResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return ended(err)
	}
	// Two clients may share a node id: the stream tells them apart.
	client := fmt.Sprintf("%s#%d", first.GetNode().GetId(), s.streams.Add(1))
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
	for report := first; err == nil; report, err = stream.Recv() {
		s.Loads.Report(time.Now(), client, report.GetClusterStats(), s.Index().PodAt)
	}
	return ended(err)
}

// ended tells a client that went away from a failure.
func ended(err error) error {
	if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}
