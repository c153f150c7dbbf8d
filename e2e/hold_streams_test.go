package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// heldPod takes every WebSocket, sends an event every tick at /events, counts what it gets
// at /upload, and answers anything else at once.
func heldPod(t *testing.T, name string, tick time.Duration) (address string) {
	t.Helper()
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pod", name)
		switch {
		case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
			echoUpgraded(w, name)
		case r.URL.Path == "/events":
			sendEvents(w, r, tick)
		case r.URL.Path == "/upload":
			n, err := io.Copy(io.Discard, r.Body)
			_ = json.NewEncoder(w).Encode(map[string]any{"pod": name, "bytes": n, "error": fmt.Sprint(err)})
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"pod": name})
		}
	}))
	t.Cleanup(pod.Close)
	return pod.Listener.Addr().String()
}

// sendEvents sends numbers until the client has enough of them.
func sendEvents(w http.ResponseWriter, r *http.Request, every time.Duration) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; ; n++ {
		_, err := fmt.Fprintf(w, "data: %d\n\n", n)
		if errors.Join(err, http.NewResponseController(w).Flush()) != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// held is a stream that is open, and its session.
type held struct {
	kind, service, key string
	began              time.Time
	first              shownSession // as it was bound
	leastInFlight      int
	looks              int
	done               chan outcome
	outcome
	empty time.Duration // from its end to that of its pod's drain
}

// outcome is how a stream ended.
type outcome struct {
	pod, carried string
	err          error
	at           time.Time
}

// holdClients hold streams until end is closed.
type holdClients struct {
	s       *harness.Stack
	plan    holdPlan
	rooms   *grpc.ClientConn
	end     chan struct{}
	stop    func() // closes end, once
	running sync.WaitGroup
}

func newHoldClients(t *testing.T, s *harness.Stack, plan holdPlan) *holdClients {
	t.Helper()
	rooms, err := grpc.NewClient(strings.Trim(strings.TrimPrefix(s.URL, "http:"), "/"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	c := &holdClients{s: s, plan: plan, rooms: rooms, end: end, stop: sync.OnceFunc(func() { close(end) })}
	t.Cleanup(func() {
		c.stop()
		_ = rooms.Close()
		c.running.Wait()
	})
	return c
}

// open opens a stream of a session of its own.
func (c *holdClients) open(t *testing.T, kind string) *held {
	t.Helper()
	h := &held{kind: kind, service: "chat", key: "held-" + kind, began: time.Now(), done: make(chan outcome, 1)}
	run := map[string]func(*testing.T, string) outcome{
		"WebSocket": c.webSocket, "event stream": c.events, "upload": c.upload, "gRPC stream": c.talk,
	}[kind]
	if kind == "gRPC stream" {
		h.service = "rooms"
	}
	c.running.Go(func() {
		out := run(t, h.key)
		out.at = time.Now()
		h.done <- out
	})
	return h
}

// each does something every tick until the end, and says how often.
func (c *holdClients) each(do func(n int) error) (times int, err error) {
	tick := time.NewTicker(c.plan.tick)
	defer tick.Stop()
	for {
		if err := do(times); err != nil {
			return times, err
		}
		times++
		select {
		case <-c.end:
			return times, nil
		case <-tick.C:
		}
	}
}

func (c *holdClients) webSocket(t *testing.T, key string) (out outcome) {
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.Trim(strings.TrimPrefix(c.s.URL, "http:"), "/"))
	if err != nil {
		return outcome{err: err}
	}
	defer func() { out.err = errors.Join(out.err, conn.Close()) }()
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Session-Id: %s\r\n\r\n", key); err != nil {
		return outcome{err: err}
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil) //nolint:bodyclose // the connection is its body
	if err != nil {
		return outcome{err: err}
	}
	n, err := c.each(func(n int) error {
		want := fmt.Sprintln("hello", n)
		if _, err := io.WriteString(conn, want); err != nil {
			return err
		}
		got, err := r.ReadString('\n')
		if err == nil && got != want {
			err = fmt.Errorf("sent %q, got %q", want, got)
		}
		return err
	})
	return outcome{pod: resp.Header.Get("X-Pod"), carried: fmt.Sprint(n, " messages and echoes"), err: err}
}

func (c *holdClients) events(t *testing.T, key string) outcome {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.s.URL+"events", nil)
	if err != nil {
		return outcome{err: err}
	}
	req.Header.Set("x-session-id", key)
	resp, err := new(http.Transport).RoundTrip(req) // its connection ends with the answer, which is cut short
	if err != nil {
		return outcome{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	r := bufio.NewReader(resp.Body)
	n, err := c.each(func(n int) error {
		got, err := r.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", n); err == nil && got != want {
			return fmt.Errorf("event %q, want %q", got, want)
		}
		_, blank := r.ReadString('\n')
		return errors.Join(err, blank)
	})
	return outcome{pod: resp.Header.Get("X-Pod"), carried: fmt.Sprint(n, " events"), err: err}
}

func (c *holdClients) upload(t *testing.T, key string) outcome {
	body := &slowly{c: c, began: time.Now()}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.s.URL+"upload", body)
	if err != nil {
		return outcome{err: err}
	}
	req.ContentLength = int64(c.plan.upload)
	req.Header.Set("x-session-id", key)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return outcome{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	var got struct {
		Pod   string `json:"pod"`
		Bytes int    `json:"bytes"`
	}
	if err = json.NewDecoder(resp.Body).Decode(&got); err == nil && got.Bytes != c.plan.upload {
		err = fmt.Errorf("%d of %d bytes arrived", got.Bytes, c.plan.upload)
	}
	return outcome{pod: got.Pod, carried: fmt.Sprintf("%.0f MB", float64(got.Bytes)/1e6), err: err}
}

// slowly is an upload at such a rate that it takes the plan's time. It keeps its last
// byte back until the end.
type slowly struct {
	c     *holdClients
	began time.Time
	sent  int
}

func (s *slowly) Read(b []byte) (int, error) {
	plan := s.c.plan
	tick := time.NewTicker(plan.tick / 4)
	defer tick.Stop()
	for {
		due := int(min(1, time.Since(s.began).Seconds()/plan.length.Seconds()) * float64(plan.upload-1))
		if n := min(due-s.sent, len(b)); n > 0 {
			s.sent += n
			return n, nil
		}
		select {
		case <-s.c.end:
			n := min(plan.upload-s.sent, len(b))
			if s.sent += n; n == 0 {
				return 0, io.EOF
			}
			return n, nil
		case <-tick.C:
		}
	}
}

func (c *holdClients) talk(t *testing.T, key string) outcome {
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-session-id", key)
	stream, err := c.rooms.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/rooms.Rooms/Talk")
	if err != nil {
		return outcome{err: err}
	}
	n, err := c.each(func(n int) error {
		sent, got := wrapperspb.String(fmt.Sprint(n)), &wrapperspb.StringValue{}
		err := errors.Join(stream.SendMsg(sent), stream.RecvMsg(got))
		if err == nil && got.Value != sent.Value {
			err = fmt.Errorf("sent %q, got %q", sent.Value, got.Value)
		}
		return err
	})
	if err == nil {
		err = stream.CloseSend()
	}
	if last := stream.RecvMsg(&wrapperspb.StringValue{}); err == nil && !errors.Is(last, io.EOF) {
		err = fmt.Errorf("the stream ended with %w", last)
	}
	return outcome{pod: strings.Join(stream.Trailer().Get("pod"), ","), carried: fmt.Sprint(n, " messages both ways"), err: err}
}
