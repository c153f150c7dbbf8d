package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/fastpathtest"
	"github.com/stateful-route/stateful-route/internal/redistest"
	"github.com/stateful-route/stateful-route/wire"
)

// withFastPath has an app write a table.
func withFastPath(path string) func(*Options) {
	return func(o *Options) { o.Config.FastPath.Table = path }
}

func fastService() []wire.ServiceState {
	s := service()
	s[0].Service.Session.FastPath = true
	return s
}

// envoyAt reads a table as an Envoy's module does.
func envoyAt(t *testing.T, path string) *fastpathtest.Reader {
	t.Helper()
	r, err := fastpathtest.Open(path, uint32(os.Getpid()), fastpath.Monotonic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// bind has a session's requests come until Envoy can answer for it.
func bind(t *testing.T, a *App, r *fastpathtest.Reader, key string) fastpathtest.Answer {
	t.Helper()
	var got fastpathtest.Answer
	harness.Eventually(t, harness.Patience, key+" is shown", func() error {
		extproctest.Ask(t, a.server, "chat", key)
		if got = r.Lookup("chat", key); got.Result != "hit" {
			return fmt.Errorf("Envoy finds %+v", got)
		}
		return nil
	})
	return got
}

// Requests that Envoy answered for are in all that this process tells, and what is changed
// here Envoy does not go by any more.
func TestFastPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	a, _, stop := startApp(t, withFastPath(path))
	defer stop()
	if _, err := os.Stat(path); err == nil {
		t.Error("there is a table before there are services")
	}
	a.directory.Set(fastService(), true)
	r := envoyAt(t, path)
	answer := bind(t, a, r, "alice")
	if answer.Pod != "chat-0" || answer.Address != "127.0.0.1:9101" {
		t.Errorf("Envoy goes to %+v", answer)
	}
	before, ok := a.table.Peek("chat", "alice", time.Now())
	if !ok {
		t.Fatal("not bound")
	}
	for range 5 {
		r.Begin(r.Lookup("chat", "alice"))
		r.End(answer, 0, 2, time.Millisecond, 2*time.Millisecond)
	}
	r.Count(0, "hit")
	_, text := get(t, a, "/metrics")
	for _, want := range []string{
		`stateful_route_requests_total{code="2xx",method="GET",pod="chat-0",service="chat"} 5`,
		`stateful_route_fast_path_requests_total{result="hit"} 1`, "stateful_route_fast_path_bindings 1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	var page struct {
		Sessions []struct{ Requests uint64 }
	}
	_, text = get(t, a, "/api/v1/sessions")
	if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Sessions) != 1 || page.Sessions[0].Requests != before.Requests+5 {
		t.Errorf("sessions: %s, want %d requests", text, before.Requests+5)
	}
	if _, text = get(t, a, "/api/v1/stats"); !strings.Contains(text, `"bindings": 1`) || !strings.Contains(text, `"envoys": 1`) {
		t.Errorf("statistics: %s", text)
	}
	if s := a.table.Stats(); s.Hits < 5 {
		t.Errorf("%d look-ups found their session", s.Hits)
	}
	checkRevoked(t, a, r)
}

// checkRevoked takes the pod out, and then forgets the session.
func checkRevoked(t *testing.T, a *App, r *fastpathtest.Reader) {
	t.Helper()
	a.directory.Set([]wire.ServiceState{{Service: fastService()[0].Service}}, true)
	if got := r.Lookup("chat", "alice"); got.Result != "pod" {
		t.Errorf("without its pod Envoy finds %+v", got)
	}
	a.directory.Set(fastService(), true)
	if got := r.Lookup("chat", "alice"); got.Result != "hit" {
		t.Errorf("with its pod again Envoy finds %+v", got)
	}
	req, _ := http.NewRequest(http.MethodDelete, "http://"+a.adminListener.Addr().String()+"/api/v1/sessions/chat/alice", nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := r.Lookup("chat", "alice"); res.StatusCode >= 300 || got.Result != "unknown" {
		t.Errorf("after %s Envoy finds %+v", res.Status, got)
	}
}

// With a store of this process alone Envoy goes on by the table that is left, until the next
// process has restored its sessions and knows services.
func TestFastPathOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "table")
	kept := func(o *Options) { o.Config.Store.Memory.Path = filepath.Join(dir, "pins.db") }
	a, _, stop := startApp(t, withFastPath(path), kept)
	a.directory.Set(fastService(), true)
	old := envoyAt(t, path)
	bind(t, a, old, "alice")
	stop()
	if got := old.Lookup("chat", "alice"); got.Result != "hit" {
		t.Errorf("while nobody is there Envoy finds %+v", got)
	}
	a, _, stop = startApp(t, withFastPath(path), kept)
	defer stop()
	if got := old.Lookup("chat", "alice"); got.Result != "hit" {
		t.Errorf("before there are services Envoy finds %+v", got)
	}
	a.directory.Set(fastService(), true)
	if got := old.Lookup("chat", "alice"); got.Result == "hit" {
		t.Errorf("after the next table was activated Envoy finds %+v in the old one", got)
	}
	if b, ok := a.table.Peek("chat", "alice", time.Now()); !ok || b.Requests < 2 {
		t.Errorf("restored: %+v, %v", b, ok)
	}
	if got := envoyAt(t, path).Lookup("chat", "alice"); got.Result != "hit" || got.Pod != "chat-0" {
		t.Errorf("in the next table Envoy finds %+v, before anybody has asked this process", got)
	}
}

// With a store that replicas share Envoy goes by the table as long as there is a lease, and
// not when this process has left the others.
func TestFastPathByTheLease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	server := redistest.Start(t)
	a, _, stop := startApp(t, withFastPath(path), sharingAt(server.Addr()))
	a.directory.Set(fastService(), true)
	r := envoyAt(t, path)
	bind(t, a, r, "alice")
	server.Kill()
	harness.Eventually(t, harness.Patience, "the lease runs out", func() error {
		left := a.shared.table.Left()
		why, live := r.Live()
		if live == (left > 0) && !live && why == "lease" {
			return nil
		}
		return fmt.Errorf("%s of the lease left, live %v: %s", left, live, why)
	})
	stop()
	if _, live := r.Live(); live {
		t.Error("live after the process has left")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the table is there after the process has left")
	}
}

// A table that cannot be made leaves all to this process, one that cannot be retired ends it.
func TestFastPathCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	a, logs, stop := startApp(t, withFastPath(filepath.Join(dir, "gone", "table")))
	a.directory.Set(fastService(), true)
	extproctest.Ask(t, a.server, "chat", "alice")
	stop()
	if logs.FilterMessageSnippet("there is no fast path").Len() != 1 {
		t.Error("not logged")
	}
	o := Options{Config: loadConfig(t, writeConfig(t, goodConfig)), Log: a.log}
	o.Config.FastPath.Table = dir
	if _, err := New(context.Background(), o); err == nil || !strings.Contains(err.Error(), "cannot be retired") {
		t.Errorf("started over what cannot be retired: %v", err)
	}
}
