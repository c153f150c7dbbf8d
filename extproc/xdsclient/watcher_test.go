package xdsclient

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// xdsServer is go-control-plane's own server, as a stand-in for xds-server.
type xdsServer struct {
	t       testing.TB
	address string
	cache   cachev3.SnapshotCache
	grpc    *grpc.Server

	mu       sync.Mutex
	requests []*discoveryv3.DeltaDiscoveryRequest
}

const testNode = "extproc/test"

func startXDS(t testing.TB) *xdsServer {
	s := &xdsServer{t: t, cache: cachev3.NewSnapshotCache(false, cachev3.IDHash{}, nil)}
	s.listen("127.0.0.1:0")
	t.Cleanup(func() { s.grpc.Stop() })
	return s
}

func (s *xdsServer) listen(address string) {
	s.t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = l.Addr().String()
	s.grpc = grpc.NewServer()
	handler := serverv3.NewServer(context.Background(), s.cache, serverv3.CallbackFuncs{
		StreamDeltaRequestFunc: func(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.requests = append(s.requests, r)
			return nil
		},
	})
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.grpc, handler)
	go s.grpc.Serve(l)
}

// push publishes one service.
func (s *xdsServer) push(version string, svc statefulroute.Service, edsName string, p []statefulroute.Pod) {
	s.t.Helper()
	snapshot, err := cachev3.NewSnapshot(version, map[resource.Type][]types.Resource{
		resource.ClusterType:  {cluster(s.t, svc, edsName)},
		resource.EndpointType: {assignment(s.t, edsName, p)},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cache.SetSnapshot(context.Background(), testNode, snapshot); err != nil {
		s.t.Fatal(err)
	}
}

// find returns a request seen that matches.
func (s *xdsServer) find(match func(*discoveryv3.DeltaDiscoveryRequest) bool) *discoveryv3.DeltaDiscoveryRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if match(r) {
			return r
		}
	}
	return nil
}

func (s *xdsServer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

func startWatcher(t testing.TB, address string, services Services) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWatcher(WatcherOptions{
		Conn: conn, NodeID: testNode, Services: services,
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		conn.Close()
	})
}

func TestWatcherFollowsTheServer(t *testing.T) {
	xds, d := startXDS(t), newDirectory(t)
	startWatcher(t, xds.address, d)
	xds.push("1", chat(), "chat@1", pods(2))
	eventually(t, "first pods", func() bool { return podCount(d) == 2 })
	first := xds.find(func(r *discoveryv3.DeltaDiscoveryRequest) bool { return r.GetNode().GetId() != "" })
	if n := first.GetNode(); n.GetId() != testNode || n.GetUserAgentName() != wire.UserAgent {
		t.Errorf("introduced itself as %v", n)
	}
	xds.push("2", chat(rejecting), "chat@2", pods(5))
	eventually(t, "a new generation", func() bool { return podCount(d) == 5 })
	if inForce(d).Service.Session.OnPodLoss != statefulroute.Reject {
		t.Error("the new policy is not in force")
	}
	eventually(t, "the old generation is unsubscribed", func() bool {
		return xds.find(func(r *discoveryv3.DeltaDiscoveryRequest) bool {
			return len(r.GetResourceNamesUnsubscribe()) == 1 && r.GetResourceNamesUnsubscribe()[0] == "chat@1"
		}) != nil
	})
}

// ackStream looks at what is in force whenever an acknowledgement leaves.
type ackStream struct {
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	acked func(typeURL string)
}

func (s ackStream) Send(r *discoveryv3.DeltaDiscoveryRequest) error {
	if r.GetResponseNonce() != "" {
		s.acked(r.GetTypeUrl())
	}
	return nil
}

func TestWatcherAcknowledgesWhatIsInForce(t *testing.T) {
	d := newDirectory(t)
	w, err := NewWatcher(WatcherOptions{Conn: &grpc.ClientConn{}, NodeID: testNode, Services: d})
	if err != nil {
		t.Fatal(err)
	}
	var acked []int
	s := &adsStream{watcher: w, subscribed: map[string]bool{},
		client: ackStream{acked: func(string) { acked = append(acked, podCount(d)) }}}
	for _, r := range []*discoveryv3.DeltaDiscoveryResponse{
		response(t, clusterType, "1", nil, cluster(t, chat(), "chat@1")),
		response(t, endpointType, "1", nil, assignment(t, "chat@1", pods(2))),
		response(t, endpointType, "2", nil, assignment(t, "chat@1", pods(3))),
	} {
		if err := s.handle(r); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int{-1, 2, 3}; !slices.Equal(acked, want) {
		t.Errorf("pods in force at each acknowledgement: %v, want %v", acked, want)
	}
}

func isAck(typeURL string) func(*discoveryv3.DeltaDiscoveryRequest) bool {
	return func(r *discoveryv3.DeltaDiscoveryRequest) bool {
		return r.GetTypeUrl() == typeURL && r.GetResponseNonce() != "" && r.GetErrorDetail() == nil
	}
}

func TestWatcherRefusesAndKeepsTheLastGood(t *testing.T) {
	xds, d := startXDS(t), newDirectory(t)
	startWatcher(t, xds.address, d)
	xds.push("1", chat(), "chat@1", pods(2))
	eventually(t, "first pods", func() bool { return podCount(d) == 2 })
	xds.push("2", chat(func(s *statefulroute.Service) { s.Balancing.Strategy = "odd" }), "chat@1", pods(2))
	var nack *discoveryv3.DeltaDiscoveryRequest
	eventually(t, "a refusal", func() bool {
		nack = xds.find(func(r *discoveryv3.DeltaDiscoveryRequest) bool { return r.GetErrorDetail() != nil })
		return nack != nil
	})
	if m := nack.GetErrorDetail().GetMessage(); !strings.Contains(m, `service "chat"`) || !strings.Contains(m, `"odd"`) {
		t.Errorf("refused with %q", m)
	}
	if s := inForce(d); s.Service.Balancing.Strategy != "round_robin" || podCount(d) != 2 {
		t.Errorf("in force: %+v with %d pods", s.Service, podCount(d))
	}
	xds.push("3", chat(), "chat@1", pods(4))
	eventually(t, "recovery", func() bool { return podCount(d) == 4 })
}

func TestWatcherSurvivesTheServer(t *testing.T) {
	xds, d := startXDS(t), newDirectory(t)
	startWatcher(t, xds.address, d)
	xds.push("1", chat(), "chat@1", pods(2))
	eventually(t, "first pods", func() bool { return podCount(d) == 2 && xds.find(isAck(endpointType)) != nil })
	xds.grpc.Stop()
	if podCount(d) != 2 || !d.Complete() {
		t.Error("the state went away with the server")
	}
	xds.forget()
	xds.push("2", chat(), "chat@1", pods(3))
	xds.listen(xds.address)
	eventually(t, "the news after the outage", func() bool { return podCount(d) == 3 })
	resumed := xds.find(func(r *discoveryv3.DeltaDiscoveryRequest) bool {
		return r.GetTypeUrl() == clusterType && r.GetInitialResourceVersions()["chat"] != ""
	})
	if resumed == nil {
		t.Error("the new stream did not say what it already has")
	}
}

func TestWatcherOptionsAreChecked(t *testing.T) {
	if _, err := NewWatcher(WatcherOptions{NodeID: "x"}); err == nil {
		t.Error("a watcher without a connection was accepted")
	}
}
