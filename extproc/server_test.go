package extproc

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/wire"
)

// processor is a running Server and an Envoy's view of it.
type processor struct {
	t         testing.TB
	directory *Directory
	table     *affinity.Table
	logs      *observer.ObservedLogs
	server    *Server
	client    extprocv3.ExternalProcessorClient
	onStream  func(context.Context) // when set, is given each stream's context on the server
}

func startProcessor(t testing.TB, services ...wire.ServiceState) *processor {
	return startProcessorOf(t, newDirectory(t, services...), newTable(t))
}

func startProcessorOf(t testing.TB, d *Directory, table *affinity.Table) *processor {
	core, logs := observer.New(zap.DebugLevel)
	p := &processor{t: t, directory: d, table: table, logs: logs}
	server, err := NewServer(ServerOptions{Directory: p.directory, Table: MemoryTable{Table: p.table}, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	p.server = server
	l := bufconn.Listen(1 << 20)
	g := NewGRPCServer(server, grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if p.onStream != nil {
			p.onStream(stream.Context())
		}
		return next(srv, stream)
	}))
	go g.Serve(l)
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); g.Stop() })
	p.client = extprocv3.NewExternalProcessorClient(conn)
	return p
}

// callout is one HTTP request as Envoy takes it through the processor.
type callout struct {
	t      testing.TB
	stream extprocv3.ExternalProcessor_ProcessClient
	cancel context.CancelFunc
}

func (p *processor) open(service string) *callout {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	p.t.Cleanup(cancel)
	if service != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, wire.ServiceMetadata, service)
	}
	stream, err := p.client.Process(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	return &callout{t: p.t, stream: stream, cancel: cancel}
}

// request sends request headers and returns the answer.
func (p *processor) request(pairs ...string) (*callout, *extprocv3.ProcessingResponse) {
	p.t.Helper()
	c := p.open("chat")
	return c, c.exchange(requestMessage(append([]string{":method", "GET", ":path", "/"}, pairs...)...))
}

func requestMessage(pairs ...string) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: httpHeaders(pairs...)}}
}

// responseMessage is the response headers that came from upstream.
func responseMessage(upstream string, pairs ...string) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: httpHeaders(pairs...)},
		Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: map[string]*structpb.Value{
			"upstream.address": structpb.NewStringValue(upstream)}}},
	}
}

// response sends response headers that came from upstream.
func (c *callout) response(upstream string, pairs ...string) *extprocv3.ProcessingResponse {
	c.t.Helper()
	return c.exchange(responseMessage(upstream, pairs...))
}

func (c *callout) exchange(m *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	c.t.Helper()
	if err := c.stream.Send(m); err != nil {
		c.t.Fatal(err)
	}
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// finish ends the stream as Envoy does and waits until the server is through.
func (c *callout) finish() {
	c.t.Helper()
	if err := c.stream.CloseSend(); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.stream.Recv(); !errors.Is(err, io.EOF) {
		c.t.Errorf("the stream ended with %v, want success", err)
	}
}

func httpHeaders(pairs ...string) *extprocv3.HttpHeaders {
	return &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: envoyHeaders(pairs...)}}
}

// destination is where an answer sends the request: an address, "" for unbound.
func destination(t testing.TB, r *extprocv3.ProcessingResponse) string {
	t.Helper()
	h := r.GetRequestHeaders()
	if h == nil {
		t.Fatalf("not an answer to request headers: %v", r)
	}
	m := h.GetResponse().GetHeaderMutation()
	for _, set := range m.GetSetHeaders() {
		if set.GetHeader().GetKey() == wire.DestinationHeader {
			if set.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
				t.Error("a client's own header would survive")
			}
			address, err := base64.StdEncoding.DecodeString(string(set.GetHeader().GetRawValue()))
			if err != nil {
				t.Fatal(err)
			}
			return string(address)
		}
	}
	if rm := m.GetRemoveHeaders(); len(rm) != 1 || rm[0] != wire.DestinationHeader {
		t.Errorf("an unbound request keeps the client's header: %v", m)
	}
	if !saysDecided(r) {
		t.Errorf("an unbound request is not marked as decided: %v", r)
	}
	return ""
}

func saysDecided(r *extprocv3.ProcessingResponse) bool {
	return r.GetDynamicMetadata().GetFields()[wire.Namespace].GetStructValue().GetFields()[wire.DecidedKey].GetBoolValue()
}

// Where Envoy looks for it, every answer says that the request was decided, from the
// moment on that this is configured.
func TestWhereUndecidedIsDeniedAnswersSayThatTheyAreDecisions(t *testing.T) {
	denying := chat(func(s *statefulroute.Service) { s.Session.OnExtprocLoss = statefulroute.Deny })
	p := startProcessor(t, stateOf(chat(), pods(1)))
	for _, svc := range []statefulroute.Service{chat(), denying, chat()} {
		p.directory.Set([]wire.ServiceState{stateOf(svc, pods(1))}, true)
		for _, method := range []string{"GET", "POST"} {
			r := p.open("chat").exchange(requestMessage(":method", method, ":path", "/", "x-session-id", "s"))
			if deny := svc.Session.OnExtprocLoss == statefulroute.Deny; saysDecided(r) != deny {
				t.Errorf("%s, deny is %v: %v", method, deny, r)
			}
		}
	}
}

func asksForResponse(r *extprocv3.ProcessingResponse) bool {
	return r.GetModeOverride().GetResponseHeaderMode() == filterv3.ProcessingMode_SEND
}

// setCookieOf returns the one Set-Cookie an answer to response headers adds.
func setCookieOf(t testing.TB, r *extprocv3.ProcessingResponse) *http.Cookie {
	t.Helper()
	set := r.GetResponseHeaders().GetResponse().GetHeaderMutation().GetSetHeaders()
	if len(set) != 2 || set[1].GetHeader().GetKey() != "cache-control" || string(set[1].GetHeader().GetRawValue()) != "private" {
		t.Fatalf("the answer sets %v, want a cookie that no shared cache keeps", set)
	}
	if set[0].GetHeader().GetKey() != "set-cookie" ||
		set[0].GetAppendAction() != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
		t.Fatalf("the answer sets %v, want one more cookie", set)
	}
	c, err := http.ParseSetCookie(string(set[0].GetHeader().GetRawValue()))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *processor) inFlight() (n int64) {
	for _, l := range p.directory.service("chat").balancer.Loads() {
		n += l.InFlight
	}
	return n
}

func TestProcessBindsAndFollows(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(3)))
	c, r := p.request("x-session-id", "a")
	owner := destination(t, r)
	if owner == "" || !asksForResponse(r) {
		t.Fatalf("a new session goes to %q, response asked for: %v", owner, asksForResponse(r))
	}
	if p.inFlight() != 1 {
		t.Errorf("%d in flight during the request, want 1", p.inFlight())
	}
	c.response(owner, ":status", "200")
	if p.inFlight() != 1 {
		t.Errorf("%d in flight while the body flows, want 1", p.inFlight())
	}
	c.finish()
	if p.inFlight() != 0 {
		t.Errorf("%d in flight after the request, want 0", p.inFlight())
	}
	for range 5 {
		c, r := p.request("x-session-id", "a")
		if got := destination(t, r); got != owner {
			t.Errorf("sent to %s, want %s", got, owner)
		}
		c.finish()
	}
	if hits, misses := metric(t, p.directory, `stateful_route_cache_hits_total{service="chat"}`),
		metric(t, p.directory, `stateful_route_cache_misses_total{service="chat"}`); hits != 5 || misses != 1 {
		t.Errorf("%v hits and %v misses, want 5 and 1", hits, misses)
	}
}

func TestProcessLeavesUnboundRequestsToEnvoy(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(3)))
	c, r := p.request()
	if got := destination(t, r); got != "" {
		t.Errorf("sent to %s, want no choice", got)
	}
	c.finish()
	if n := p.table.Stats().Size; n != 0 {
		t.Errorf("%d bindings, want none", n)
	}
}

func TestProcessAddressesIPv6(t *testing.T) {
	six := pods(1)
	six[0].Address = netip.MustParseAddrPort("[2001:db8::1]:80")
	p := startProcessor(t, stateOf(chat(), six))
	_, r := p.request("x-session-id", "a")
	if got := destination(t, r); got != "[2001:db8::1]:80" {
		t.Errorf("sent to %s", got)
	}
}

func TestProcessRefusesWhenThePodIsLost(t *testing.T) {
	p := startProcessor(t, stateOf(chat(rejecting), pods(2)))
	p.table.Move("chat", "a", "gone", time.Now())
	_, r := p.request("x-session-id", "a")
	checkRefusal(t, r, wire.ReasonPodLost)
	for kind, want := range map[string]float64{"pod_lost": 1, "upstream": 0} {
		counter := `stateful_route_request_errors_total{kind="` + kind + `",pod="",service="chat"}`
		eventually(t, counter, func() bool { return metric(t, p.directory, counter) == want })
	}
	p.directory.Set([]wire.ServiceState{stateOf(chat(), nil)}, true)
	_, r = p.request("x-session-id", "new")
	checkRefusal(t, r, wire.ReasonNoPods)
}

func checkRefusal(t *testing.T, r *extprocv3.ProcessingResponse, reason string) {
	t.Helper()
	i := r.GetImmediateResponse()
	if i.GetStatus().GetCode() != 503 || len(i.GetBody()) == 0 || i.GetDetails() == "" {
		t.Fatalf("got %v, want a 503", r)
	}
	got := ""
	for _, h := range i.GetHeaders().GetSetHeaders() {
		if h.GetHeader().GetKey() == wire.ReasonHeader {
			got = string(h.GetHeader().GetRawValue())
		}
	}
	if got != reason {
		t.Errorf("reason %q, want %q", got, reason)
	}
}

// Envoy takes a stream that ends cleanly without an answer as leave to pass.
func TestProcessNeverEndsCleanlyWithoutAnAnswer(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	send := func(c *callout, m *extprocv3.ProcessingRequest) codes.Code {
		if m != nil {
			c.stream.Send(m) // fails if the server has refused the stream already: Recv says why
		}
		c.stream.CloseSend()
		_, err := c.stream.Recv()
		if errors.Is(err, io.EOF) {
			t.Error("the stream ended cleanly")
		}
		return status.Code(err)
	}
	headersFirst := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: httpHeaders()}}
	bodyFirst := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{}}}
	for name, c := range map[string]struct {
		service string
		message *extprocv3.ProcessingRequest
		want    codes.Code
	}{
		"no service":      {"", headersFirst, codes.InvalidArgument},
		"unknown service": {"mail", headersFirst, codes.Unavailable},
		"body first":      {"chat", bodyFirst, codes.FailedPrecondition},
		"nothing at all":  {"chat", nil, codes.Canceled},
	} {
		if got := send(p.open(c.service), c.message); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestProcessGivesBackAbortedRequests(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(2)))
	for i := range 20 {
		c, _ := p.request("x-session-id", strconv.Itoa(i))
		c.cancel()
	}
	eventually(t, "nothing in flight", func() bool { return p.inFlight() == 0 })
	aborted := 0.0
	for _, pod := range pods(2) {
		aborted += metric(t, p.directory, `stateful_route_request_errors_total{kind="aborted",pod="`+pod.Name+`",service="chat"}`)
	}
	if aborted != 20 {
		t.Errorf("%v aborted requests counted, want 20", aborted)
	}
}

func TestProcessCountsMisroutes(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(2)))
	c, r := p.request("x-session-id", "a")
	owner, other := destination(t, r), "127.0.0.1:9100"
	if owner == other {
		other = "127.0.0.1:9101"
	}
	c.response(other, ":status", "200")
	c.finish()
	b, _ := p.table.Peek("chat", "a", time.Now())
	if n := metric(t, p.directory, `stateful_route_misroutes_total{pod="`+b.Pod+`",service="chat"}`); n != 1 {
		t.Errorf("%v misroutes, want 1", n)
	}
}

func TestProcessAnswersTrailers(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	c, _ := p.request("x-session-id", "a")
	c.response("127.0.0.1:9100", ":status", "200")
	r := c.exchange(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{
		ResponseTrailers: &extprocv3.HttpTrailers{}}})
	if r.GetResponseTrailers() == nil {
		t.Errorf("trailers were answered with %v", r)
	}
	c.finish()
}

func TestProcessLogsNoKey(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(2)))
	p.table.Move("chat", "secret-key", "gone", time.Now())
	c, _ := p.request("x-session-id", "secret-key")
	c.finish()
	if p.logs.FilterMessage("session rebound").Len() != 1 {
		t.Errorf("the rebind was not logged: %v", p.logs.All())
	}
	for _, e := range p.logs.All() {
		if strings.Contains(fmt.Sprint(e.Message, e.ContextMap()), "secret-key") {
			t.Errorf("the key is in the log: %v", e)
		}
	}
	if n := metric(t, p.directory, `stateful_route_sessions_rebound_total{reason="removed",service="chat"}`); n != 1 {
		t.Errorf("%v rebinds counted, want 1", n)
	}
}

// BenchmarkProcessKnownSession is the handler alone, without gRPC.
func BenchmarkProcessKnownSession(b *testing.B) {
	server, err := NewServer(ServerOptions{Directory: newDirectory(b, stateOf(chat(), pods(3))), Table: newMemory(b)})
	if err != nil {
		b.Fatal(err)
	}
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(wire.ServiceMetadata, "chat"))
	m := []*extprocv3.ProcessingRequest{{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: httpHeaders(":path", "/", ":method", "GET", "x-session-id", "a")}}}
	stream := &scriptedStream{ctx: ctx}
	b.ReportAllocs()
	for b.Loop() {
		stream.in, stream.out = m, stream.out[:0]
		if err := server.Process(played(stream)); err != nil {
			b.Fatal(err)
		}
	}
}
