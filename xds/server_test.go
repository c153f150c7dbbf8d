package xds

import (
	"context"
	"errors"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/build"
	"github.com/stateful-route/stateful-route/xds/discovery"
	"github.com/stateful-route/stateful-route/xds/state"
)

// observed counts what the server reports.
type observed struct {
	mu            sync.Mutex
	pushes, nacks []string
	took          []time.Duration
}

func (o *observed) XDSPush(kind string, d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.took = append(o.took, d)
	o.pushes = append(o.pushes, kind)
}

func (o *observed) lastPush() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.took[len(o.took)-1]
}

func (o *observed) XDSNack(kind string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nacks = append(o.nacks, kind)
}

func (o *observed) nacked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.nacks)
}

// running is a server on a loopback port, with a client connection to it.
type running struct {
	*Server
	observed *observed
	conn     *grpc.ClientConn
}

func startServer(t *testing.T, boot string, ackTimeout time.Duration) *running {
	t.Helper()
	return startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, AckTimeout: ackTimeout, Boot: boot})
}

func startServerWith(t *testing.T, opts Options) *running {
	t.Helper()
	srv, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	lrs := loadService(srv)
	go func() { ended <- srv.Run(ctx) }()
	go func() { ended <- srv.Serve(ctx, listener, lrs.RegisterOn) }()
	t.Cleanup(func() {
		conn.Close()
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return &running{srv, opts.Observer.(*observed), conn}
}

func (r *running) config(t *testing.T, pods ...statefulroute.Pod) {
	t.Helper()
	svc := testService("chat")
	svc.Pods.Static = append([]statefulroute.Pod{}, pods...)
	if err := r.SetConfig(t.Context(), testGateway(), []statefulroute.Service{svc}, nil); err != nil {
		t.Fatal(err)
	}
}

// client is one ADS stream of either protocol; what arrives is on got.
type client struct {
	t     *testing.T
	node  *corev3.Node
	delta discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	sotw  discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	got   chan push
	asked map[string][]string // names by type: every sotw request repeats them
}

// push is a response, reduced to what the tests look at.
type push struct {
	typeURL, nonce, version string
	names                   []string
	resources               []*anypb.Any
}

func (r *running) client(t *testing.T, protocol, agent string) *client {
	t.Helper()
	c := &client{t: t, node: &corev3.Node{Id: "test-" + agent, UserAgentName: agent}, got: make(chan push, 100), asked: map[string][]string{}}
	ads := discoveryv3.NewAggregatedDiscoveryServiceClient(r.conn)
	var err error
	var receive func() (push, error)
	if protocol == "delta" {
		c.delta, err = ads.DeltaAggregatedResources(t.Context())
		receive = c.receiveDelta
	} else {
		c.sotw, err = ads.StreamAggregatedResources(t.Context())
		receive = c.receiveSotw
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.got)
		for {
			p, err := receive()
			if err != nil {
				return
			}
			c.got <- p
		}
	}()
	return c
}

func (c *client) receiveDelta() (push, error) {
	resp, err := c.delta.Recv()
	p := push{typeURL: resp.GetTypeUrl(), nonce: resp.GetNonce(), version: resp.GetSystemVersionInfo()}
	for _, r := range resp.GetResources() {
		p.names, p.resources = append(p.names, r.GetName()), append(p.resources, r.GetResource())
	}
	return p, err
}

func (c *client) receiveSotw() (push, error) {
	resp, err := c.sotw.Recv()
	p := push{typeURL: resp.GetTypeUrl(), nonce: resp.GetNonce(), version: resp.GetVersionInfo()}
	p.resources = resp.GetResources()
	for range p.resources {
		p.names = append(p.names, "")
	}
	return p, err
}

// ask subscribes to names of a type, or to all of it; answer acknowledges, or
// refuses when reason is not empty.
func (c *client) ask(typeURL string, names ...string) {
	c.asked[typeURL] = names
	c.request(push{typeURL: typeURL}, "", "", names)
}

func (c *client) answer(p push, accepted, reason string) {
	c.t.Helper()
	names := c.asked[p.typeURL]
	if c.delta != nil {
		names = nil // they stay subscribed
	}
	c.request(p, accepted, reason, names)
}

func (c *client) request(p push, accepted, reason string, names []string) {
	c.t.Helper()
	var refusal *status.Status
	if reason != "" {
		refusal = &status.Status{Code: 13, Message: reason}
	}
	var err error
	if c.delta != nil {
		err = c.delta.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: c.node, TypeUrl: p.typeURL, ResponseNonce: p.nonce, ErrorDetail: refusal, ResourceNamesSubscribe: names})
	} else {
		err = c.sotw.Send(&discoveryv3.DiscoveryRequest{
			Node: c.node, TypeUrl: p.typeURL, ResponseNonce: p.nonce, ErrorDetail: refusal, VersionInfo: accepted, ResourceNames: names})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) next() push {
	c.t.Helper()
	select {
	case p, ok := <-c.got:
		if !ok {
			c.t.Fatal("the stream ended")
		}
		return p
	case <-time.After(10 * time.Second):
		c.t.Fatal("nothing was sent")
	}
	return push{}
}

func protocols(t *testing.T, run func(t *testing.T, protocol string)) {
	for _, p := range []string{"delta", "sotw"} {
		t.Run(p, func(t *testing.T) { run(t, p) })
	}
}

// A refused push is not sent again by itself: that would be an endless loop
// between us and an Envoy. The next change is sent.
func TestARefusalIsHeldBackUntilSomethingChanges(t *testing.T) {
	protocols(t, func(t *testing.T, protocol string) {
		srv := startServer(t, "a", time.Second)
		srv.config(t, testPod("a", 1))
		envoy := srv.client(t, protocol, "envoy")
		envoy.ask(resourcev3.ClusterType)
		first := envoy.next()
		envoy.answer(first, "", "bad cluster")
		// A second type's answer proves that the refusal was handled before.
		envoy.ask(resourcev3.ListenerType)
		if p := envoy.next(); p.typeURL != resourcev3.ListenerType {
			t.Fatalf("after the refusal came %s again", p.typeURL)
		}
		if got := srv.observed.nacked(); !slices.Equal(got, []string{"cds"}) {
			t.Errorf("nacks counted: %v", got)
		}
		rows := slices.DeleteFunc(srv.Clients(), func(r ClientStatus) bool { return r.Type != "cds" })
		if len(rows) != 1 || rows[0].Status != "nack" || rows[0].Reason != "bad cluster" || rows[0].Protocol != protocol || rows[0].Node != "test-envoy" {
			t.Errorf("clients: %+v", rows)
		}
		changed := testService("chat")
		changed.Session.IdleTimeout = time.Minute
		changed.Pods.Static = []statefulroute.Pod{testPod("a", 1)}
		if err := srv.SetConfig(t.Context(), testGateway(), []statefulroute.Service{changed}, nil); err != nil {
			t.Fatal(err)
		}
		if p := envoy.next(); p.typeURL != resourcev3.ClusterType || p.version == first.version {
			t.Errorf("after a change: %+v", p)
		}
	})
}

// The three stages, with an Envoy that takes its time.
func TestExtprocHearsOfAPodAfterEnvoyAnswered(t *testing.T) {
	protocols(t, func(t *testing.T, protocol string) {
		srv := startServer(t, "a", time.Hour)
		srv.config(t, testPod("a", 1))
		name := endpointsName(t, srv.Model())
		envoy, extproc := srv.client(t, protocol, "envoy"), srv.client(t, protocol, wire.UserAgent)
		for _, c := range []*client{envoy, extproc} {
			c.ask(resourcev3.EndpointType, name)
			p := c.next()
			c.answer(p, p.version, "")
		}
		srv.waitAnswered(t)
		before := time.Now()
		srv.config(t, testPod("a", 1), testPod("b", 2))
		toEnvoy := envoy.next()
		select {
		case p := <-extproc.got:
			t.Fatalf("extproc was told before Envoy answered: %+v", p)
		case <-time.After(50 * time.Millisecond):
		}
		envoy.answer(toEnvoy, toEnvoy.version, "")
		toExtproc := extproc.next()
		extproc.answer(toExtproc, toExtproc.version, "")
		srv.waitAnswered(t)
		srv.clients.mu.Lock()
		defer srv.clients.mu.Unlock()
		if took := srv.observed.lastPush(); took < 50*time.Millisecond || srv.clients.changes[wire.Extproc].Before(before) {
			t.Errorf("extproc's answer came %v after the change, which waited for Envoy", took)
		}
	})
}

func TestASilentEnvoyDelaysExtprocByTheTimeoutOnly(t *testing.T) {
	srv := startServer(t, "a", 50*time.Millisecond)
	srv.config(t, testPod("a", 1))
	name := endpointsName(t, srv.Model())
	envoy, extproc := srv.client(t, "delta", "envoy"), srv.client(t, "delta", wire.UserAgent)
	envoy.ask(resourcev3.EndpointType, name)
	envoy.next() // and never answers
	extproc.ask(resourcev3.EndpointType, name)
	p := extproc.next()
	extproc.answer(p, p.version, "")
	srv.config(t, testPod("a", 1), testPod("b", 2))
	extproc.next()
}

// waitAnswered returns once the server has booked every client's answer.
func (r *running) waitAnswered(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		unanswered := func(row ClientStatus) bool { return row.Status != "ack" }
		if !slices.ContainsFunc(r.Clients(), unanswered) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not answered: %+v", r.Clients())
		}
	}
}

func endpointsName(t *testing.T, m state.Model) string {
	t.Helper()
	r, err := build.All(m)
	if err != nil {
		t.Fatal(err)
	}
	for name := range r[resourcev3.EndpointType] {
		return name
	}
	t.Fatal("no endpoints")
	return ""
}

// An extproc that lost the run before has a moment to come back: until then a
// pod that goes away stays known to Envoy.
func TestAfterAStartNothingIsRemovedBeforeExtprocIsBack(t *testing.T) {
	srv := startServer(t, "a", 10*time.Second)
	srv.config(t, testPod("a", 1), testPod("b", 2))
	name := endpointsName(t, srv.Model())
	envoy := srv.client(t, "delta", "envoy")
	envoy.ask(resourcev3.EndpointType, name)
	p := envoy.next()
	envoy.answer(p, p.version, "")
	srv.config(t, testPod("a", 1))
	p = envoy.next() // both addresses
	envoy.answer(p, p.version, "")
	select {
	case p := <-envoy.got:
		t.Fatalf("an address was removed with no extproc in sight: %+v", p)
	case <-time.After(100*time.Millisecond + testGateway().MessageTimeout):
	}
	extproc := srv.client(t, "delta", wire.UserAgent)
	extproc.ask(resourcev3.EndpointType, name)
	p = extproc.next()
	extproc.answer(p, p.version, "")
	envoy.next()
}

// A type that we have nothing of must not end the stream of the others.
func TestAnUnknownTypeIsNeverAnswered(t *testing.T) {
	protocols(t, func(t *testing.T, protocol string) {
		srv := startServer(t, "a", time.Second)
		srv.config(t, testPod("a", 1))
		envoy := srv.client(t, protocol, "envoy")
		envoy.ask(resourcev3.SecretType, "cert")
		envoy.ask(resourcev3.ListenerType)
		if p := envoy.next(); p.typeURL != resourcev3.ListenerType {
			t.Errorf("got %s", p.typeURL)
		}
	})
}

// An Envoy that comes back to a restarted server: in delta it is sent nothing
// it has, in state-of-the-world everything once.
func TestAfterARestartVersionsAreNotMistaken(t *testing.T) {
	srv := startServer(t, "first", time.Second)
	srv.config(t, testPod("a", 1))
	before := srv.client(t, "sotw", "envoy")
	before.ask(resourcev3.ListenerType)
	old := before.next()

	again := startServer(t, "second", time.Second)
	again.config(t, testPod("a", 1))
	back := again.client(t, "sotw", "envoy")
	back.request(push{typeURL: resourcev3.ListenerType}, old.version, "", nil)
	if p := back.next(); p.version == old.version {
		t.Errorf("two runs gave the same version %s", p.version)
	}
}

func TestAnEditThatCannotBeBuiltLeavesAllAsItWas(t *testing.T) {
	srv := startServer(t, "a", time.Second)
	srv.config(t, testPod("a", 1))
	bad := testGateway()
	bad.Listeners = []state.Listener{{Address: "nowhere"}}
	if err := srv.SetConfig(t.Context(), bad, nil, nil); err == nil || !strings.Contains(err.Error(), "envoy.listener") {
		t.Fatalf("got %v", err)
	}
	if m := srv.Model(); show(m) != "chat: a@1" {
		t.Errorf("the model is now %s", show(m))
	}
	if err := srv.SetOverride(t.Context(), "chat", "nobody", statefulroute.Draining); !errors.Is(err, state.ErrUnknownPod) {
		t.Errorf("got %v", err)
	}
	if err := srv.SetOverride(t.Context(), "chat", "a", statefulroute.Draining); err != nil || show(srv.Model()) != "chat: a@1(draining)" {
		t.Errorf("got %v, %s", err, show(srv.Model()))
	}
}

// One of two pods whose weights are as large together as Envoy accepts is
// exchanged, so that Envoys have three for a while.
func TestTheHeaviestPodsAreExchanged(t *testing.T) {
	timeout := 50 * time.Millisecond
	srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, AckTimeout: timeout, ReconnectGrace: timeout, Boot: "a"})
	heavy := func(name string, port uint16, weight uint32) statefulroute.Pod {
		p := testPod(name, port)
		p.Weight = weight
		return p
	}
	a, b := heavy("a", 1, math.MaxUint32/2), heavy("b", 2, math.MaxUint32/2+1)
	srv.config(t, a, b)
	envoy := srv.client(t, "delta", "envoy")
	envoy.ask(resourcev3.EndpointType, endpointsName(t, srv.Model()))
	for range 3 { // once, with one on its way out, and without it
		p := envoy.next()
		envoy.answer(p, p.version, "")
		if p.version == "" {
			t.Error("no version")
		}
		if srv.Model().Services[0].Members[1].Name == "b" {
			srv.config(t, a, heavy("c", 3, math.MaxUint32/2+1))
		}
	}
	if err := srv.SetOverride(t.Context(), "chat", "c", statefulroute.Draining); err != nil {
		t.Error(err)
	}
	tooHeavy := testService("chat")
	tooHeavy.Pods = staticSource(a, b, testPod("c", 3))
	if err := srv.SetConfig(t.Context(), testGateway(), []statefulroute.Service{tooHeavy}, nil); err == nil || !strings.Contains(err.Error(), "add up to") {
		t.Errorf("weights that Envoy refuses: %v", err)
	}
	if got := show(srv.Model()); got != "chat: a@1 c@3(draining)" {
		t.Errorf("in force: %s", got)
	}
}

// What the load makes of weights is never refused.
func TestWeightsOfTheLoadAreScaledToWhatEnvoyAccepts(t *testing.T) {
	srv := startServer(t, "a", 50*time.Millisecond)
	srv.config(t, testPod("a", 1), testPod("b", 2))
	most := map[string]map[string]uint32{"chat": {"a": math.MaxUint32, "b": math.MaxUint32, "gone": 1}, "gone": {"a": 1}}
	if err := srv.SetWeights(t.Context(), most); err != nil {
		t.Fatal(err)
	}
	r, err := build.All(srv.Model())
	if err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for _, res := range r[resourcev3.EndpointType] {
		for _, e := range res.(*endpointv3.ClusterLoadAssignment).Endpoints[0].LbEndpoints {
			sum += uint64(e.LoadBalancingWeight.Value)
		}
	}
	if sum > math.MaxUint32 || sum < math.MaxUint32-4 {
		t.Errorf("the weights add up to %d", sum)
	}
}

// A look-up that was under way when the service got another source.
func TestPodsOfAnotherSourceAreRefused(t *testing.T) {
	srv := startServer(t, "a", time.Second)
	dns := testService("chat")
	dns.Pods = statefulroute.PodSource{Discovery: &discovery.DNS{Host: "chat.internal", Port: 80}}
	late := map[string][]statefulroute.Pod{"chat": {testPod("old", 9)}}
	if err := srv.SetConfig(t.Context(), testGateway(), []statefulroute.Service{dns}, late); err != nil || show(srv.Model()) != "chat: old@9" {
		t.Fatalf("%v, %s", err, show(srv.Model()))
	}
	srv.config(t, testPod("a", 1))
	if err := srv.SetPods(t.Context(), "chat", dns.Pods, late["chat"]); !errors.Is(err, state.ErrOtherSource) {
		t.Errorf("got %v", err)
	}
	if got := show(srv.Model()); got != "chat: a@1" {
		t.Errorf("the pods are now %s", got)
	}
}
