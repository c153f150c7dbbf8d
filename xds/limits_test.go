package xds

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/rawgrpc"
	"github.com/stateful-route/stateful-route/wire"
)

const (
	deltaADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	sotwADS  = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
	streamLR = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
)

func anyStream() *grpc.StreamDesc {
	return &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
}

// startBounded is a server with load reporting, one service, and an Envoy that is
// there before anybody else.
func startBounded(t *testing.T, l ClientLimits) (*running, *client) {
	t.Helper()
	srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, Boot: "a", Limits: l})
	srv.config(t, testPod("a", 9001))
	envoy := srv.client(t, "delta", "envoy")
	envoy.ask(resourcev3.ClusterType)
	envoy.answer(envoy.next(), "", "")
	return srv, envoy
}

// stillServed fails the test unless the client gets a change.
func (r *running) stillServed(t *testing.T, c *client) {
	t.Helper()
	svc := testService("chat")
	svc.Pods.Static = r.Model().Services[0].Pods.Static
	svc.Session.IdleTimeout = r.Model().Services[0].Session.IdleTimeout + 1e9
	if err := r.SetConfig(t.Context(), testGateway(), []statefulroute.Service{svc}, nil); err != nil {
		t.Fatal(err)
	}
	c.answer(c.next(), "", "")
}

// refusedBy is the counter of a limit.
func (r *running) refusedBy(t *testing.T, limit string) int {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.ClientMetrics())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == limit {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

func madeUp(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("name-%d", i)
	}
	return out
}

func versions(n int) map[string]string {
	out := map[string]string{}
	for _, name := range madeUp(n) {
		out[name] = "1"
	}
	return out
}

// Each goes beyond one bound, and hears of it.
func TestRequestsBeyondABoundAreRefused(t *testing.T) {
	long := strings.Repeat("x", 2<<10)
	huge := strings.Repeat("x", 3<<20)
	ours, err := structpb.NewStruct(map[string]any{wire.Namespace: map[string]any{"module": strings.Repeat("/x", 3<<10)}})
	if err != nil {
		t.Fatal(err)
	}
	eds := resourcev3.EndpointType
	type delta = discoveryv3.DeltaDiscoveryRequest
	type sotw = discoveryv3.DiscoveryRequest
	for _, c := range []struct {
		name, method, limit string
		code                codes.Code
		messages            []proto.Message
	}{
		{"node id", deltaADS, "node", codes.InvalidArgument, []proto.Message{&delta{Node: &corev3.Node{Id: huge}, TypeUrl: eds}}},
		{"node id", sotwADS, "node", codes.InvalidArgument, []proto.Message{&sotw{Node: &corev3.Node{Id: huge}, TypeUrl: eds}}},
		{"node id", streamLR, "node", codes.InvalidArgument, []proto.Message{&loadstatsv3.LoadStatsRequest{Node: &corev3.Node{Id: huge}}}},
		{"node agent", deltaADS, "node", codes.InvalidArgument, []proto.Message{&delta{Node: &corev3.Node{UserAgentName: long}, TypeUrl: eds}}},
		{"our metadata", deltaADS, "node", codes.InvalidArgument, []proto.Message{&delta{Node: &corev3.Node{Metadata: ours}, TypeUrl: eds}}},
		{"name", deltaADS, "name_length", codes.InvalidArgument, []proto.Message{&delta{TypeUrl: eds, ResourceNamesSubscribe: []string{long}}}},
		{"unsubscribed name", deltaADS, "name_length", codes.InvalidArgument, []proto.Message{&delta{TypeUrl: eds, ResourceNamesUnsubscribe: []string{long}}}},
		{"known name", deltaADS, "name_length", codes.InvalidArgument, []proto.Message{&delta{TypeUrl: eds, InitialResourceVersions: map[string]string{long: ""}}}},
		{"known version", deltaADS, "name_length", codes.InvalidArgument, []proto.Message{&delta{TypeUrl: eds, InitialResourceVersions: map[string]string{"": long}}}},
		{"nonce", deltaADS, "name_length", codes.InvalidArgument, []proto.Message{&delta{TypeUrl: eds, ResponseNonce: long}}},
		{"name", sotwADS, "name_length", codes.InvalidArgument, []proto.Message{&sotw{TypeUrl: eds, ResourceNames: []string{long}}}},
		{"version", sotwADS, "name_length", codes.InvalidArgument, []proto.Message{&sotw{TypeUrl: eds, VersionInfo: long}}},
		{"nonce", sotwADS, "name_length", codes.InvalidArgument, []proto.Message{&sotw{TypeUrl: eds, ResponseNonce: long}}},
		{"type", deltaADS, "name_length", codes.InvalidArgument, []proto.Message{&delta{TypeUrl: long}}},
		{"type", sotwADS, "name_length", codes.InvalidArgument, []proto.Message{&sotw{TypeUrl: long}}},
		{"names", deltaADS, "names", codes.ResourceExhausted, []proto.Message{&delta{TypeUrl: eds, ResourceNamesSubscribe: madeUp(maxNames + 1)}}},
		{"names", sotwADS, "names", codes.ResourceExhausted, []proto.Message{&sotw{TypeUrl: eds, ResourceNames: madeUp(maxNames + 1)}}},
		{"one name often", deltaADS, "names", codes.ResourceExhausted, []proto.Message{&delta{TypeUrl: eds, ResourceNamesSubscribe: make([]string, maxNames+1)}}},
		{"names by and by", deltaADS, "names", codes.ResourceExhausted, []proto.Message{
			&delta{TypeUrl: eds, ResourceNamesSubscribe: madeUp(maxNames)[:maxNames/2]}, &delta{TypeUrl: eds, ResourceNamesSubscribe: madeUp(maxNames)[maxNames/2:]},
			&delta{TypeUrl: resourcev3.RouteType, ResourceNamesSubscribe: []string{"one"}},
		}},
		{"known names", deltaADS, "names", codes.ResourceExhausted, []proto.Message{&delta{TypeUrl: eds, InitialResourceVersions: versions(maxNames + 1)}}},
		{"unsubscribed names", deltaADS, "names", codes.ResourceExhausted, []proto.Message{&delta{TypeUrl: eds, ResourceNamesUnsubscribe: madeUp(maxNames + 1)}}},
		{"types", deltaADS, "types", codes.ResourceExhausted, typed(func(url string) proto.Message { return &delta{TypeUrl: url} })},
		{"types", sotwADS, "types", codes.ResourceExhausted, typed(func(url string) proto.Message { return &sotw{TypeUrl: url} })},
		{"message", deltaADS, "message_size", codes.ResourceExhausted, []proto.Message{&delta{TypeUrl: huge, ResponseNonce: huge}}},
	} {
		t.Run(c.method[len(c.method)-8:]+" "+c.name, func(t *testing.T) {
			srv, envoy := startBounded(t, ClientLimits{})
			stream, err := srv.conn.NewStream(t.Context(), anyStream(), c.method)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range c.messages {
				if err := stream.SendMsg(m); err != nil {
					break // RecvMsg has the reason
				}
			}
			for err == nil {
				err = stream.RecvMsg(&discoveryv3.DeltaDiscoveryResponse{})
			}
			if status.Code(err) != c.code {
				t.Errorf("the stream ended with %v, want %v", err, c.code)
			}
			if n := srv.refusedBy(t, c.limit); n != 1 {
				t.Errorf("counted %d times as %s", n, c.limit)
			}
			srv.stillServed(t, envoy)
		})
	}
}

func typed(request func(url string) proto.Message) []proto.Message {
	var out []proto.Message
	for _, n := range madeUp(maxTypes + 1) {
		out = append(out, request("type.googleapis.com/"+n))
	}
	return out
}

// What a client says beyond what is read is not kept, and not refused either: an
// Envoy's node may hold its whole environment.
func TestOfANodeOnlyWhatIsReadIsKept(t *testing.T) {
	env, err := structpb.NewStruct(map[string]any{"env": strings.Repeat("x", 1<<20), wire.Namespace: map[string]any{"table": "/dev/shm/x"}})
	if err != nil {
		t.Fatal(err)
	}
	node, refusal := boundedNode(&corev3.Node{
		Id: "e", Cluster: strings.Repeat("x", 1<<20), UserAgentName: "envoy", Metadata: env,
		Extensions: []*corev3.Extension{{Name: "x"}}, ClientFeatures: []string{"x"},
	})
	if refusal != nil || node.GetId() != "e" || node.GetUserAgentName() != "envoy" || proto.Size(node) > 100 {
		t.Errorf("kept %v, %v", node, refusal)
	}
	if got := node.GetMetadata().GetFields()[wire.Namespace].GetStructValue().GetFields()["table"].GetStringValue(); got != "/dev/shm/x" {
		t.Errorf("our own metadata is %q", got)
	}
	reason := boundedReason(&statuspb.Status{Code: 13, Message: strings.Repeat("ü", 1<<20)})
	if len(reason.GetMessage()) > maxReason+len("…") || !strings.HasSuffix(reason.GetMessage(), "ü…") {
		t.Errorf("a reason of %d bytes is kept: …%q", len(reason.GetMessage()), reason.GetMessage()[len(reason.GetMessage())-10:])
	}
}

// One client takes all the names there are; those that ask for few get them, and
// what its stream had is free when it ends.
func TestOneClientsNamesLeaveTheOthersTheirs(t *testing.T) {
	srv, envoy := startBounded(t, ClientLimits{Connections: 4, Streams: 8}) // 32 for each stream, 400 for all
	greedy := srv.client(t, "delta", "greedy")
	greedy.ask(resourcev3.EndpointType, madeUp(432)...)
	rawgrpc.Eventually(t, "they are granted", func() bool { return len(srv.Clients()) == 2 })
	late := srv.client(t, "delta", "late")
	late.ask(resourcev3.EndpointType, append(madeUp(31), endpointsName(t, srv.Model()))...)
	late.next()
	late.ask(resourcev3.RouteType, "more")
	if _, ok := <-late.got; ok || srv.refusedBy(t, "names") != 1 {
		t.Errorf("beyond its part: counted %d times", srv.refusedBy(t, "names"))
	}
	srv.stillServed(t, envoy)
	if err := greedy.delta.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for range greedy.got { // until it has ended
	}
	again := srv.client(t, "delta", "again")
	again.ask(resourcev3.EndpointType, append(madeUp(431), endpointsName(t, srv.Model()))...)
	again.next()
}

// A client that names the same again, or takes it back, is not at its bound for it.
func TestNamesAreCountedOnce(t *testing.T) {
	srv, _ := startBounded(t, ClientLimits{Connections: 4, Streams: 8})
	name := endpointsName(t, srv.Model())
	c := srv.client(t, "delta", "c")
	c.ask(resourcev3.EndpointType, append(madeUp(300), name)...) // of 432
	for range 20 {
		c.ask(resourcev3.EndpointType, madeUp(100)...)
	}
	for i := range 20 {
		m := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resourcev3.RouteType, ResourceNamesSubscribe: []string{fmt.Sprint(i)}}
		if i > 0 {
			m.ResourceNamesUnsubscribe = []string{fmt.Sprint(i - 1)}
		}
		if err := c.delta.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	c.ask(resourcev3.ClusterType)
	for c.next().typeURL != resourcev3.ClusterType { // it is last: all before were taken
	}
	if n := srv.refusedBy(t, "names"); n != 0 {
		t.Errorf("%d refusals", n)
	}
}

// A hundred streams with so many made-up names: what they may have costs little,
// and they are told.
func TestMadeUpNamesCostLittle(t *testing.T) {
	srv, envoy := startBounded(t, ClientLimits{})
	many := make([]string, 60_000)
	for i := range many {
		many[i] = fmt.Sprintf("made-up-resource-name-of-an-attacker-%d", i)
	}
	before := rawgrpc.Memory()
	for range 100 {
		stream, err := srv.conn.NewStream(t.Context(), anyStream(), deltaADS)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.SendMsg(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resourcev3.EndpointType, ResourceNamesSubscribe: many}); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&discoveryv3.DeltaDiscoveryResponse{}); status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("the stream ended with %v", err)
		}
	}
	if grown := rawgrpc.Memory() - before; grown > 10e6 {
		t.Errorf("100 refused streams left %d MB", grown/1e6)
	}
	srv.stillServed(t, envoy)
}

// Streams that do nothing are cheap: what 20 KB are is the goroutines' stacks for
// more than half.
func TestIdleStreamsCostLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory is not the server's")
	}
	for _, c := range []struct {
		name, method string
		first        proto.Message
	}{
		{"delta", deltaADS, &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "idle"}, TypeUrl: resourcev3.ClusterType}},
		{"sotw", sotwADS, &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "idle"}, TypeUrl: resourcev3.ClusterType}},
		{"loads", streamLR, &loadstatsv3.LoadStatsRequest{Node: &corev3.Node{Id: "idle"}}},
		{"silent", deltaADS, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv, envoy := startBounded(t, ClientLimits{})
			const conns, each = 10, 200
			before := rawgrpc.Memory()
			var all []*rawgrpc.Conn
			for range conns {
				raw := rawgrpc.Dial(t, "tcp", srv.conn.Target())
				all = append(all, raw)
				for range each {
					id := raw.Open(c.method)
					if c.first != nil {
						raw.Send(id, c.first)
					}
				}
			}
			rawgrpc.Eventually(t, "they are open, and answered", func() bool {
				n := 0
				for _, raw := range all {
					n += raw.Messages()
				}
				// A message may come in two frames.
				return srv.guard.Streams() == conns*each+1 && (c.first == nil || n >= conns*each)
			})
			cost := rawgrpc.Memory() - before
			t.Logf("%s, with 1/%d of a connection", rawgrpc.Each(cost, conns*each), each)
			if cost > 22_000*conns*each { // a tenth is for what is measured along
				t.Error("more than 20 KB")
			}
			srv.stillServed(t, envoy)
		})
	}
}
