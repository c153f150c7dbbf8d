package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// grpcPod answers every call with what it was sent, message by message, and names
// itself in a trailer; asked to fail, it does, with a status of its own.
func grpcPod(t *testing.T, name string, options ...grpc.ServerOption) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(options, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		stream.SetTrailer(metadata.Pairs("pod", name))
		for {
			var message wrapperspb.StringValue
			switch err := stream.RecvMsg(&message); {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			case message.Value == "fail":
				return status.Error(codes.ResourceExhausted, "all rooms are full")
			}
			if err := stream.SendMsg(&message); err != nil {
				return err
			}
		}
	}))...)
	healthv1.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-served })
	return l.Addr().String(), server.Stop
}

// gRPCStack is a stack whose second service has two gRPC pods, and a client of it.
func gRPCStack(t *testing.T) (s *harness.Stack, client *grpc.ClientConn, stops map[string]func()) {
	t.Helper()
	svc := harness.Chat(2)
	svc.Name, svc.Match = "rooms", map[string]any{"prefix": "/rooms.Rooms"}
	svc.HealthCheck = map[string]any{"grpc": "", "interval": "100ms", "timeout": "100ms"}
	svc.Session.OnPodLoss, svc.Session.OnExtprocLoss = "reject", "deny"
	stops = map[string]func(){}
	for i := range svc.Pods.Static {
		pod := &svc.Pods.Static[i]
		pod.Name = fmt.Sprintf("rooms-%d", i)
		pod.Address, stops[pod.Name] = grpcPod(t, pod.Name)
	}
	s = start(t, harness.Options{Services: []harness.Service{harness.Chat(1), svc}})
	client, err := grpc.NewClient(strings.Trim(strings.TrimPrefix(s.URL, "http:"), "/"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return s, client, stops
}

// call is a unary call of a session; it returns the pod that answered.
func call(t *testing.T, client *grpc.ClientConn, session, text string) (pod string, err error) {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-session-id", session)
	var answer wrapperspb.StringValue
	var trailer metadata.MD
	err = client.Invoke(ctx, "/rooms.Rooms/Say", wrapperspb.String(text), &answer, grpc.Trailer(&trailer))
	return strings.Join(trailer.Get("pod"), ","), err
}

// chat is a stream both ways of a session, of some messages; it returns the pod.
func chat(t *testing.T, client *grpc.ClientConn, session string) (pod string) {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-session-id", session)
	stream, err := client.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/rooms.Rooms/Talk")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		sent, got := wrapperspb.String(fmt.Sprint(i)), &wrapperspb.StringValue{}
		if err := errors.Join(stream.SendMsg(sent), stream.RecvMsg(got)); err != nil || got.Value != sent.Value {
			t.Fatalf("sent %q, got %q, %v", sent.Value, got.Value, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&wrapperspb.StringValue{}); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	return strings.Join(stream.Trailer().Get("pod"), ",")
}

// Calls and streams of a session are at one pod, its trailers and status arrive, and a
// refusal is a status with its reason.
func TestGRPCSessionsStickByMetadata(t *testing.T) {
	t.Parallel()
	s, client, stops := gRPCStack(t)
	pods := map[string]string{}
	for i := range 12 {
		session := fmt.Sprint("s", i)
		first, err := call(t, client, session, "hello")
		if err != nil || first == "" {
			t.Fatalf("pod %q, %v", first, err)
		}
		again, err := call(t, client, session, "fail")
		if status.Code(err) != codes.ResourceExhausted || status.Convert(err).Message() != "all rooms are full" {
			t.Errorf("the pod's own status: %v", err)
		}
		if streamed := chat(t, client, session); again != first || streamed != first {
			t.Errorf("session %s: called at %s, then %s, streamed at %s", session, first, again, streamed)
		}
		pods[first] = session
	}
	if len(pods) != 2 {
		t.Fatalf("all sessions are at %v", pods)
	}
	stops["rooms-0"]()
	refused := func(reason string) {
		t.Helper()
		harness.Eventually(t, harness.Patience, "the call is refused: "+reason, func() error {
			_, err := call(t, client, pods["rooms-0"], "hello")
			if status.Code(err) == codes.Unavailable && strings.Contains(status.Convert(err).Message(), reason) {
				return nil
			}
			return errors.Join(errNotYet, err)
		})
	}
	refused("the pod of this session is gone")
	s.Extproc.Stop(t)
	refused("no external processor answered")
}

// What is spoken with pods is what their service says, whatever clients speak.
func TestPodsAreSpokenToInTheirProtocol(t *testing.T) {
	t.Parallel()
	services := servicesAt("chat", "http2", "auto")
	for i := range services {
		svc := &services[i]
		pod := &svc.Pods.Static[0]
		pod.Address = protocolPod(t, pod.Name, svc.Name != "http2")
		if svc.Name != "chat" {
			svc.Protocol = svc.Name
		}
	}
	services[1].HealthCheck = map[string]any{"http": "/", "interval": "100ms", "timeout": "100ms"}
	s := start(t, harness.Options{Services: services})
	old, h2 := &http.Transport{}, plainHTTP2(t)
	t.Cleanup(old.CloseIdleConnections)
	for _, c := range []struct {
		path   string
		client http.RoundTripper
		want   string
	}{
		{"", old, "HTTP/1.1"}, {"", h2, "HTTP/1.1"},
		{"http2", old, "HTTP/2.0"}, {"http2", h2, "HTTP/2.0"},
		{"auto", old, "HTTP/1.1"}, {"auto", h2, "HTTP/2.0"},
	} {
		req, err := http.NewRequest(http.MethodGet, s.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		var saw struct{ Proto string }
		if err := json.NewDecoder(resp.Body).Decode(&saw); err != nil || saw.Proto != c.want {
			t.Errorf("/%s by %s: the pod was spoken to in %q, want %s; %v", c.path, resp.Proto, saw.Proto, c.want, err)
		}
		_ = resp.Body.Close()
	}
}

// protocolPod says in which version it was asked, and may know HTTP/2 alone.
func protocolPod(t *testing.T, name string, http1 bool) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: harness.Patience, Protocols: new(http.Protocols),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"pod": name, "proto": r.Proto}) // to a client that may be gone
		}),
	}
	server.Protocols.SetHTTP1(http1)
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return l.Addr().String()
}
