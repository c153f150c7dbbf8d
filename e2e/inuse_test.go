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
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/store"
	"github.com/stateful-route/stateful-route/e2e/harness"
)

// holdingPod counts visits as a demo pod does. It takes every WebSocket, never ends an
// event stream at /events, answers at /slow when it is let, and at /upload when it has all.
func holdingPod(t *testing.T, name string, let <-chan struct{}) (address string) {
	t.Helper()
	var mu sync.Mutex
	visits := map[string]int{}
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("x-session-id")
		mu.Lock()
		visits[key]++
		n := visits[key]
		mu.Unlock()
		switch {
		case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
			echoUpgraded(w, name)
			return
		case r.URL.Path == "/events":
			w.Header().Set("content-type", "text/event-stream")
			// A client that went away has no use for an event.
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		case r.URL.Path == "/upload":
			_, _ = io.Copy(io.Discard, r.Body) // a client that went away sends no more
		case r.URL.Path == "/slow":
			select {
			case <-let:
			case <-r.Context().Done():
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"pod": name, "session": key, "visits": n})
	}))
	t.Cleanup(pod.Close)
	return pod.Listener.Addr().String()
}

// openRequest sends a request of a session and leaves its connection open until the end of
// the test.
func openRequest(t *testing.T, s *harness.Stack, path, key string, lines ...string) net.Conn {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	head := append([]string{"GET " + path + " HTTP/1.1", "Host: chat.test", "X-Session-Id: " + key}, lines...)
	if _, err := fmt.Fprintf(conn, "%s\r\n\r\n", strings.Join(head, "\r\n")); err != nil {
		t.Fatal(err)
	}
	return conn
}

// answered reads an answer, which must be a good one.
func answered(conn net.Conn) error {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return errors.Join(err, resp.Body.Close())
}

// shownSession is a session as extproc's admin API shows it.
type shownSession struct {
	Key      string    `json:"key"`
	Pod      string    `json:"pod"`
	InFlight int       `json:"in_flight"`
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"last_seen"`
}

func shownSessions(s *harness.Stack) (map[string]shownSession, error) {
	var page struct{ Sessions []shownSession }
	err := harness.JSON(s.ExtprocAdmin+"/api/v1/sessions?limit=1000", &page)
	out := map[string]shownSession{}
	for _, one := range page.Sessions {
		out[one.Key] = one
	}
	return out, err
}

// outlastIdle returns when a session that was used just now has expired: whatever is older
// has not been used for longer than its idle timeout.
func outlastIdle(t *testing.T, s *harness.Stack, key string) {
	t.Helper()
	if _, err := s.OK(harness.InHeader(key)); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, harness.Patience, "an unused session expires", func() error {
		sessions, err := shownSessions(s)
		if one, ok := sessions[key]; ok {
			err = fmt.Errorf("it is there: %+v", one)
		}
		return err
	})
}

// A request, an upload, an event stream or a WebSocket that is open for longer than the idle timeout
// keeps its session, on its pod, where it counts; the idle time begins when it closes.
func TestASessionInUseOutlivesItsIdleTimeout(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	svc := roundRobin(4)
	svc.Session.IdleTimeout = "1s"
	for i := range svc.Pods.Static {
		svc.Pods.Static[i].Address = holdingPod(t, svc.Pods.Static[i].Name, let)
	}
	s := start(t, harness.Options{Services: []harness.Service{svc}, Affinity: map[string]any{"cleanup_interval": "100ms"}})

	open := map[string]net.Conn{}
	for i := range 3 {
		for kind, lines := range map[string][]string{
			"slow": nil, "events": nil, "upload": {"Content-Length: 100000000"},
			"socket": {"Connection: Upgrade", "Upgrade: websocket"},
		} {
			key := fmt.Sprint(kind, "-", i)
			open[key] = openRequest(t, s, "/"+kind, key, lines...)
		}
	}
	var before map[string]shownSession
	harness.Eventually(t, harness.Patience, "all sessions are in use", func() (err error) {
		before, err = shownSessions(s)
		for key := range open {
			if one := before[key]; one.InFlight != 1 && err == nil {
				err = fmt.Errorf("%s: %+v", key, one)
			}
		}
		return err
	})
	leaving := before["socket-0"].Pod
	drain := s.Routectl(t, "pods", "drain", "chat", leaving, "--wait")

	outlastIdle(t, s, "idle")
	inUse, err := shownSessions(s)
	if err != nil {
		t.Fatal(err)
	}
	for key := range open {
		if now := inUse[key]; now.Pod != before[key].Pod || now.InFlight != 1 {
			t.Errorf("%s was %+v and is %+v", key, before[key], now)
		}
		if a, err := s.OK(harness.InHeader(key)); err != nil || a.Pod != before[key].Pod || a.Visits != 2 {
			t.Errorf("%s was on %s; its next request: %+v, %v", key, before[key].Pod, a, err)
		}
	}
	outlastIdle(t, s, "idle too")
	if !drain.Running() {
		t.Errorf("nobody waits for the WebSocket on the pod that is drained: %s", drain.Log(t))
	}

	close(let)
	for key, conn := range open {
		if strings.HasPrefix(key, "slow") {
			if err := answered(conn); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	harness.Eventually(t, harness.Patience, "the sessions expire when they are idle", func() error {
		left, err := shownSessions(s)
		if len(left) > 0 {
			err = fmt.Errorf("%+v", left)
		}
		return err
	})
	if code := drain.ExitCode(); code != 0 {
		t.Errorf("routectl ended with %d: %s", code, drain.Log(t))
	}
}

// A killed process leaves the sessions that were in use as seen shortly before. The next one
// cannot know that the WebSocket is still open.
func TestAKilledExtprocLeavesSessionsInUseFresh(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pins.db")
	svc := harness.Chat(2)
	svc.Session.IdleTimeout = "4s"
	for i := range svc.Pods.Static {
		svc.Pods.Static[i].Address = holdingPod(t, svc.Pods.Static[i].Name, nil)
	}
	s := start(t, harness.Options{
		Services: []harness.Service{svc}, Store: map[string]any{"memory": map[string]any{"path": path}},
	})
	openRequest(t, s, "/socket", "room", "Connection: Upgrade", "Upgrade: websocket")
	harness.Eventually(t, harness.Patience, "the session has been renewed twice", func() error {
		sessions, err := shownSessions(s)
		if one := sessions["room"]; err == nil && one.LastSeen.Sub(one.Created) < time.Second {
			err = fmt.Errorf("%+v", one)
		}
		return err
	})
	s.Extproc.Kill(t)
	found := openStore(t, path, 0, func(*store.Store) {})
	i := slices.IndexFunc(found, func(b statefulroute.Binding) bool { return b.Key == "room" })
	if i < 0 || !found[i].LastSeen.After(found[i].Created) {
		t.Errorf("the file has %+v, want the session as seen since its request began", found)
	}
}
