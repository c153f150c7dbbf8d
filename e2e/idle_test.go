package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// briefPod answers as a demo pod does, and closes a connection that carried no
// request for so long.
func briefPod(t *testing.T, name string, keepAlive time.Duration) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		IdleTimeout: keepAlive, ReadHeaderTimeout: keepAlive,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// A client that went away has no use for an answer.
			_ = json.NewEncoder(w).Encode(map[string]any{"pod": name, "session": r.Header.Get("x-session-id"), "visits": 1})
		}),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return l.Addr().String()
}

// Pods close idle connections after a while, and a request that meets the
// closing fails. Envoy is to close them earlier.
func TestNoRequestMeetsAConnectionThatItsPodCloses(t *testing.T) {
	t.Parallel()
	const keepAlive = time.Second // a busy Envoy closes a little later than it should
	svc := harness.Chat(1)
	svc.Pods.Static[0].Address = briefPod(t, "chat-0", keepAlive)
	svc.ConnectionIdleTimeout = "100ms"
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	keys := harness.Keys(32)
	failures, requests := []string(nil), 0
	for i := range 20 {
		burst := s.Load(keys, 1, len(keys), harness.InHeader)
		failures, requests = append(failures, burst.Failures()...), requests+burst.Requests()
		// The next burst comes around the time when the pod closes them all.
		<-time.After(keepAlive + time.Duration(i-10)*time.Millisecond)
	}
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed; the first: %s", len(failures), requests, failures[0])
	}
}
