package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// eventPods are pods whose /events is a stream that stays open: each line sent to
// say is an event.
func eventPods(t *testing.T, n int) (pods []harness.Pod, say chan string) {
	say = make(chan string)
	for i := range n {
		name := fmt.Sprintf("chat-%d", i)
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"pod": name, "session": r.Header.Get("x-session-id")})
		})
		mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for text := name; ; {
				_, _ = fmt.Fprintln(w, text) // a client that has left ends the request
				w.(http.Flusher).Flush()
				select {
				case text = <-say:
				case <-r.Context().Done():
					return
				}
			}
		})
		server := httptest.NewUnstartedServer(mux)
		_ = server.Listener.Close()
		address := harness.Address(t)
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server.Listener = l
		server.Start()
		t.Cleanup(server.Close)
		pods = append(pods, harness.Pod{Name: name, Address: address, Weight: 1})
	}
	return pods, say
}

// listener is the client of an event stream that stays open.
type listener struct {
	lines *bufio.Scanner
	close func()
}

func listenToEvents(t *testing.T, s *harness.Stack, key string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-session-id", key)
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // the listener closes it
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{lines: bufio.NewScanner(resp.Body), close: func() { cancel(); _ = resp.Body.Close() }}
	t.Cleanup(l.close)
	l.next(t)
	return l
}

func (l *listener) next(t *testing.T) string {
	t.Helper()
	if !l.lines.Scan() {
		t.Fatalf("the event stream ended: %v", l.lines.Err())
	}
	return l.lines.Text()
}

// extproc is stopped and started again by a supervisor while sessions are steady and
// an event stream is open: it ends before the stream does, and no request fails or
// moves, for Envoy waits for the next process.
func TestOrderlyRestart(t *testing.T) {
	t.Parallel()
	for _, timeout := range []string{"200ms", patientTimeout} {
		t.Run(timeout, func(t *testing.T) {
			svc := harness.Chat(0)
			var say chan string
			svc.Pods.Static, say = eventPods(t, 3)
			svc.Session.OnExtprocLoss = "allow"
			s := start(t, harness.Options{Services: []harness.Service{svc}, MessageTimeout: timeout})
			keys := harness.Keys(200)
			owners := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
			events := listenToEvents(t, s, "listener")
			bound := startBound(s, owners, 200)
			unbound := s.Traffic(t, make([]string, 5), 50*time.Millisecond)
			for range 3 {
				bound.wait(t, 50)
				restart(t, s)
				say <- "still there"
				if got := events.next(t); got != "still there" {
					t.Errorf("the event stream said %q", got)
				}
				bound.wait(t, 50)
			}
			harness.NoFailures(t, unbound.Stop())
			bound.stop()
			t.Logf("%d of %d requests of bound sessions moved, %d failed", len(bound.elsewhere), bound.sent, len(bound.failures))
			if len(bound.failures) > 0 {
				t.Errorf("failed: %v", bound.failures)
			}
			// A machine under load may take longer than 200 ms to start a process.
			if timeout == patientTimeout && len(bound.elsewhere) > 0 {
				t.Errorf("%d requests of bound sessions moved", len(bound.elsewhere))
			}
			harness.SameOwners(t, owners, bindings(t, s, "chat"))
		})
	}
}

// bindings returns the pod of each session of a service, at most 1000.
func bindings(t *testing.T, s *harness.Stack, service string) map[string]string {
	t.Helper()
	return bindingsAt(t, s.ExtprocAdmin, service)
}

// bindingsAt is bindings of the replica with the admin API.
func bindingsAt(t *testing.T, admin, service string) map[string]string {
	t.Helper()
	var page struct{ Sessions []struct{ Key, Pod string } }
	if err := harness.JSON(admin+"/api/v1/sessions?limit=1000&service="+service, &page); err != nil {
		t.Fatal(err)
	}
	pods := map[string]string{}
	for _, b := range page.Sessions {
		pods[b.Key] = b.Pod
	}
	return pods
}

// patientTimeout is a message_timeout within which any machine starts extproc.
const patientTimeout = "15s"

// extproc is killed and started again while xds-server is away: it serves at once
// what it last knew, says how old that is, and goes on from there.
func TestRestartWithoutXDSServer(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{})
	keys := harness.Keys(30)
	owners := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
	s.XDS.Kill(t)
	s.Extproc.Kill(t) // so soon after the start that only what was saved at once is there
	s.Extproc.Start(t)
	harness.Eventually(t, harness.Patience, "extproc is ready", func() error {
		_, err := harness.Body(s.ExtprocAdmin + "/readyz")
		return err
	})
	harness.SameOwners(t, owners, s.Load(keys, 3, 8, harness.InHeader).Owners(t))
	s.Load(harness.Keys(30), 2, 8, harness.InHeader).Owners(t) // new sessions are placed, too
	if detail, err := harness.Body(s.ExtprocAdmin + "/readyz"); err != nil || !strings.Contains(detail, "xds-server does not answer") {
		t.Errorf("readyz says %s, %v", detail, err)
	}
	age := "stateful_route_xds_state_age_seconds"
	if v, err := harness.Metric(s.ExtprocAdmin+"/metrics", age); err != nil || v <= 0 {
		t.Errorf("%s is %v, %v", age, v, err)
	}
	if v, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_undecided_callouts_total"); err == nil && v > 0 {
		t.Errorf("%v callouts were not decided", v)
	}
	s.XDS.Start(t)
	harness.Eventually(t, harness.Patience, "xds-server stands behind it", func() error {
		v, err := harness.Metric(s.ExtprocAdmin+"/metrics", age)
		if err == nil && v > 0 {
			err = errNotYet
		}
		return err
	})
	s.WaitReady(t)
	s.Change(t, removePod("chat-2"))
	after := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
	for _, key := range harness.On(owners, "chat-2") {
		delete(owners, key)
	}
	harness.SameOwners(t, owners, after)
}

func restart(t *testing.T, s *harness.Stack) {
	t.Helper()
	s.Extproc.Stop(t)
	if code := s.Extproc.ExitCode(); code != 0 {
		t.Errorf("extproc ended with exit code %d after SIGTERM", code)
	}
	s.Extproc.Start(t)
	s.WaitReady(t)
}
