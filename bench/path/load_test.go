package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// echo is a server that answers with a pod's name when the session is where the request says.
func echo(t *testing.T, pod func(*http.Request) string) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, pod(r))
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestLoadAsksOnceForEachSession(t *testing.T) {
	t.Parallel()
	for protocol := 1; protocol <= 2; protocol++ {
		for _, k := range keyed() {
			var sum atomic.Int64
			address := echo(t, func(r *http.Request) string {
				at := strings.LastIndex(r.URL.String()+r.Header.Get("cookie")+r.Header.Get("x-session-id"), "s0000000")
				if r.ProtoMajor != protocol || at < 0 {
					return "not as it should be"
				}
				for i := range int64(100) {
					if strings.Contains(r.URL.String()+r.Header.Get("cookie")+r.Header.Get("x-session-id"), key(i)) {
						sum.Add(i)
					}
				}
				return "pod-1"
			})
			j := job{address: address, protocol: protocol, concurrency: 20, requests: k.requests, next: each(100), owners: newOwners(100)}
			out, err := j.run(t.Context())
			if err != nil || len(out.took) != 100 || out.failed != 0 || out.wrong != 0 {
				t.Fatalf("HTTP/%d, %s: %d answered, %d failed (%v), %d wrong: %v", protocol, k.name, len(out.took), out.failed, out.problem, out.wrong, err)
			}
			if sum.Load() != 99*100/2 {
				t.Errorf("HTTP/%d, %s: sessions asked for have the sum %d", protocol, k.name, sum.Load())
			}
		}
	}
}

func TestLoadCountsWrongPodsAndFailures(t *testing.T) {
	t.Parallel()
	for protocol := 1; protocol <= 2; protocol++ {
		var n atomic.Int64
		address := echo(t, func(*http.Request) string {
			return []string{"pod-1", "pod-2", "pod-1", "what is this"}[n.Add(1)-1]
		})
		var asked int
		next := func(*rand.Rand) (int64, bool) { asked++; return 0, asked <= 4 }
		j := job{address: address, protocol: protocol, concurrency: 1, requests: header(), next: next, owners: newOwners(1)}
		out, err := j.run(t.Context())
		if err != nil || len(out.took) != 3 || out.failed != 1 || out.wrong != 1 {
			t.Errorf("HTTP/%d: %d answered, %d failed, %d wrong: %v", protocol, len(out.took), out.failed, out.wrong, err)
		}
	}
}

func TestLoadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	address := echo(t, func(*http.Request) string { cancel(); return "pod-0" })
	j := job{address: address, protocol: 2, concurrency: 1, requests: header(), next: known(10)}
	if _, err := j.run(ctx); err == nil {
		t.Error("it has ended without saying why")
	}
}

func TestOwnersOfMovedSessions(t *testing.T) {
	t.Parallel()
	o := newOwners(1)
	if o.wrong(0, o.before(0), 1) || !o.wrong(0, o.before(0), 2) {
		t.Fatal("the first answer decides")
	}
	asked := o.before(0)
	to, done, ok := o.move(0, 3)
	if !ok || to != 2 {
		t.Fatalf("moved to %d, %v", to, ok)
	}
	if _, _, again := o.move(0, 3); again {
		t.Error("two moves at a time")
	}
	if during := o.before(0); o.wrong(0, during, 1) || o.wrong(0, during, 2) || !o.wrong(0, during, 0) {
		t.Error("during a move the old and the new pod are right")
	}
	done()
	if o.wrong(0, asked, 1) {
		t.Error("who asked before the move may be answered by the old pod")
	}
	if after := o.before(0); o.wrong(0, after, 2) || !o.wrong(0, after, 1) {
		t.Error("who asks after the move is answered by the new pod")
	}
}
