package extproc

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/metadata"

	"github.com/stateful-route/stateful-route/wire"
)

// answeringStream is one request, and its response where that is asked for.
type answeringStream struct {
	scriptedStream
	response *extprocv3.ProcessingRequest
	asked    bool
}

func (s *answeringStream) Recv() (*extprocv3.ProcessingRequest, error) {
	m, err := s.scriptedStream.Recv()
	if errors.Is(err, io.EOF) && len(s.out) == 1 && asksForResponse(s.out[0]) {
		s.asked = true
		return s.response, nil
	}
	return m, err
}

// busyPod sends a pod 2,000 requests a second of one session, or of none, some of
// which fail, and returns how many failed, how many were counted as failed and
// how many responses were looked at.
func busyPod(t *testing.T, key []string, took time.Duration, failing float64) (failed, counted, asked int) {
	now := t0
	d := newDirectory(t, stateOf(chat(), pods(1)))
	table := newTable(t)
	table.Move("chat", "a", "chat-0", now)
	server, err := NewServer(ServerOptions{Directory: d, Table: MemoryTable{Table: table}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(wire.ServiceMetadata, "chat"))
	random := rand.New(rand.NewPCG(1, 2))
	for end := now.Add(took); now.Before(end); now = now.Add(500 * time.Microsecond) {
		status := "200"
		if random.Float64() < failing {
			status = "500"
			failed++
		}
		s := &answeringStream{
			scriptedStream: scriptedStream{ctx: ctx, in: []*extprocv3.ProcessingRequest{requestMessage(key...)}},
			response:       responseMessage("127.0.0.1:9100", ":status", status),
		}
		if err := server.Process(played(s)); err != nil {
			t.Fatal(err)
		}
		if s.asked {
			asked++
		}
	}
	return failed, int(metric(t, d, `stateful_route_request_errors_total{kind="upstream",pod="chat-0",service="chat"}`)), asked
}

// A busy pod's failures are counted although only samples of a busy pod's
// responses are looked at.
func TestFailuresOfABusyPodAreCounted(t *testing.T) {
	for name, key := range map[string][]string{"bound": {"x-session-id", "a"}, "unbound": nil} {
		for _, failing := range []float64{1, .2, .05, .01} {
			failed, counted, _ := busyPod(t, key, 10*time.Second, failing)
			t.Logf("%s, %v failing: %d of %d failures counted", name, failing, counted, failed)
			// Until the first is seen they are missed: 1 s of failures at 5 percent
			// is 100 of them, and a sample sees the first within about a second.
			if least := float64(failed) - 2000*2*failing - 50; float64(counted) < least && failing >= .05 {
				t.Errorf("%s, %v failing: %d of %d failures counted", name, failing, counted, failed)
			}
			if counted > failed {
				t.Errorf("%s: %d failures counted of %d", name, counted, failed)
			}
		}
		if _, _, asked := busyPod(t, key, 10*time.Second, 0); asked > 10*40+sampleBurst {
			t.Errorf("%s: %d responses of a healthy pod were looked at in 10s", name, asked)
		}
	}
}

// When a pod has mended, it is sampled again.
func TestWatchingFailuresEnds(t *testing.T) {
	var s sampler
	s.failed(t0)
	looked := func(at time.Duration) (n int) {
		for range 100 {
			if s.take(t0.Add(at)) {
				n++
			}
		}
		return n
	}
	if n := looked(watchFailures - 1); n != 100 {
		t.Errorf("%d of 100 responses are looked at right after a failure", n)
	}
	if n := looked(watchFailures); n != sampleBurst {
		t.Errorf("%d of 100 responses are looked at later, want %d", n, sampleBurst)
	}
}
