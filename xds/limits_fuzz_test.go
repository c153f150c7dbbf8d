package xds

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// script turns bytes into requests: each takes a few, and names come from a
// small alphabet so that they meet again.
type script struct{ raw []byte }

func (s *script) byte() int {
	if len(s.raw) == 0 {
		return 0
	}
	b := s.raw[0]
	s.raw = s.raw[1:]
	return int(b)
}

func (s *script) names() []string {
	out := make([]string, s.byte()%6)
	for i := range out {
		switch n := s.byte(); {
		case n == 0:
			out[i] = "*"
		case n < 200:
			out[i] = fmt.Sprint(n % 16)
		default:
			out[i] = fmt.Sprint(n*256 + s.byte())
		}
	}
	return out
}

func (s *script) typeURL() string {
	served := publishOrder()
	switch n := s.byte(); {
	case n < 200:
		return served[n%len(served)]
	case n < 240:
		return fmt.Sprintf("type.googleapis.com/unknown.%d", n%8)
	default:
		return string(s.raw[:min(len(s.raw), n%5)])
	}
}

func (s *script) node() *corev3.Node {
	switch n := s.byte(); {
	case n < 100:
		return nil
	case n < 180:
		return &corev3.Node{Id: fmt.Sprint("fuzz", n), UserAgentName: wire.UserAgent}
	default:
		return &corev3.Node{Id: fmt.Sprint("fuzz", n)}
	}
}

func (s *script) nonce() string { return []string{"", "1", "2", "3", "x"}[s.byte()%5] }

func (s *script) refusal() *status.Status {
	if s.byte() < 200 {
		return nil
	}
	return &status.Status{Code: 3, Message: "no"}
}

func (s *script) next(delta bool) proto.Message {
	if delta {
		m := &discoveryv3.DeltaDiscoveryRequest{
			Node: s.node(), TypeUrl: s.typeURL(), ResponseNonce: s.nonce(), ErrorDetail: s.refusal(),
			ResourceNamesSubscribe: s.names(), ResourceNamesUnsubscribe: s.names(),
		}
		if s.byte() > 128 {
			m.InitialResourceVersions = map[string]string{}
			for _, name := range s.names() {
				m.InitialResourceVersions[name] = "fuzz-1"
			}
		}
		return m
	}
	return &discoveryv3.DiscoveryRequest{
		Node: s.node(), TypeUrl: s.typeURL(), ResponseNonce: s.nonce(), ErrorDetail: s.refusal(),
		VersionInfo: []string{"", "fuzz-1", "old-7"}[s.byte()%3], ResourceNames: s.names(),
	}
}

// Whatever a client asks, the server lives on, and what the client had is given
// back when its stream is over.
func FuzzDiscoveryRequests(f *testing.F) {
	f.Add(true, []byte("0123456789abcdef"))
	f.Add(false, []byte{200, 3, 1, 0, 2, 5, 1, 2, 3, 4, 5, 200, 3, 1, 0, 2, 0})
	f.Add(true, []byte{0, 0, 0, 0, 5, 1, 2, 3, 4, 5, 5, 1, 2, 3, 4, 5, 255, 5, 1, 2, 3, 4, 5})
	f.Add(true, slices.Repeat([]byte{241, 'a', 'b', 'c'}, 100))
	srv, conn := fuzzed(f)
	f.Fuzz(func(t *testing.T, delta bool, raw []byte) {
		method := sotwADS
		if delta {
			method = deltaADS
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		stream, err := conn.NewStream(ctx, anyStream(), method)
		if err != nil {
			t.Fatal(err)
		}
		// A client that does not read is not read from, either.
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for stream.RecvMsg(&discoveryv3.DiscoveryResponse{}) == nil {
			}
		}()
		for s := (&script{raw}); len(s.raw) > 0; {
			if stream.SendMsg(s.next(delta)) != nil {
				break // it was refused
			}
		}
		_ = stream.CloseSend()
		<-ended
		if ctx.Err() != nil {
			t.Fatal("the stream does not end")
		}
		for srv.guard.Streams() > 0 || len(srv.Clients()) > 0 {
			if ctx.Err() != nil {
				t.Fatalf("%d streams and %v are left", srv.guard.Streams(), srv.Clients())
			}
			time.Sleep(time.Millisecond)
		}
		if srv.names.Free() != sharedNames*srv.opts.Limits.Streams {
			t.Fatalf("%d names are free", srv.names.Free())
		}
	})
}

// fuzzed is a server for all inputs.
func fuzzed(f *testing.F) (*Server, *grpc.ClientConn) {
	srv, err := New(Options{Logger: zap.NewNop(), Observer: &observed{}, Boot: "fuzz", Limits: ClientLimits{Connections: 2, Streams: 4}})
	if err != nil {
		f.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- srv.Run(ctx) }()
	go func() { ended <- srv.Serve(ctx, l) }()
	f.Cleanup(func() {
		conn.Close()
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				f.Error(err)
			}
		}
	})
	svc := testService("chat")
	svc.Pods.Static = []statefulroute.Pod{testPod("a", 9001)}
	if err := srv.SetConfig(ctx, testGateway(), []statefulroute.Service{svc}, nil); err != nil {
		f.Fatal(err)
	}
	return srv, conn
}
