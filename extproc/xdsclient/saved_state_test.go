package xdsclient

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
)

// wellKnown is a state with all that a service may have, between two generations of
// its pods.
func wellKnown(t *testing.T) *watchState {
	t.Helper()
	s := newWatchState(acceptAnything)
	mail := chat(learning, issuing, func(s *statefulroute.Service) {
		s.Name, s.Session.IdleTimeout, s.Balancing.MaxSessions, s.Balancing.SlowStart = "mail", time.Hour, 7, 30*time.Second
	})
	accept(t, s, response(t, clusterType, "7", nil, cluster(t, chat(), "chat@1"), cluster(t, mail, "mail@1")))
	accept(t, s, response(t, endpointType, "8", nil, assignment(t, "mail@1", nil),
		assignment(t, "chat@1", withState(pods(3), "chat-1", statefulroute.Draining))))
	accept(t, s, response(t, clusterType, "9", nil, cluster(t, chat(rejecting), "chat@2")))
	return s
}

func TestStateSurvivesTheFile(t *testing.T) {
	s, path := wellKnown(t), filepath.Join(t.TempDir(), "services.json")
	text, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // replaces an older one
		if err := writeState(path, text); err != nil {
			t.Fatal(err)
		}
	}
	got, at, err := readState(path, acceptAnything)
	if err != nil || time.Since(at) > time.Minute {
		t.Fatalf("read: %v, written %v", err, at)
	}
	if !got.complete() || !reflect.DeepEqual(got.services(), s.services()) || !reflect.DeepEqual(got.wanted(), s.wanted()) ||
		!reflect.DeepEqual(got.clusterVersions(), s.clusterVersions()) || !reflect.DeepEqual(got.assignments, s.assignments) {
		t.Errorf("read   %+v\nwritten %+v", got, s)
	}
	// It goes on like the one it was written from.
	for _, one := range []*watchState{s, got} {
		accept(t, one, response(t, endpointType, "9", nil, assignment(t, "chat@2", pods(1))))
		if len(one.assignments) != 2 || len(one.users) != 2 || len(one.look("chat").Pods) != 1 {
			t.Errorf("after the next response: %+v", one)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files are left", len(left))
	}
}

// watching is a watcher that was never run.
func watching(t *testing.T, path string) (w *Watcher, d *extproc.Directory, logs *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	d = newDirectory(t)
	w, err := NewWatcher(WatcherOptions{Conn: &grpc.ClientConn{}, NodeID: testNode, Services: d, StateFile: path, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	return w, d, logs
}

func TestDamagedStateIsKeptAside(t *testing.T) {
	text, err := wellKnown(t).encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(text)
	for name, bad := range map[string]string{
		"empty":            "",
		"cut":              good[:len(good)-7],
		"not ours":         `{"services": 7}`,
		"format":           strings.Replace(good, `"format":1`, `"format":2`, 1),
		"no format":        `{}`,
		"pods":             strings.Replace(good, `"in_force":"chat@1"`, `"in_force":"chat@0"`, 1),
		"strategy":         strings.Replace(good, `"round_robin"`, `"odd"`, 1),
		"no policy":        `{"format":1,"services":[{"name":"a","in_force":"a"}],"assignments":[{"name":"a"}]}`,
		"pod state":        strings.Replace(good, `"draining"`, `"sleepy"`, 1),
		"pod twice":        strings.Replace(good, `"chat-1"`, `"chat-0"`, 1),
		"pod's address":    strings.Replace(good, `"127.0.0.1:9101"`, `"chat.internal:80"`, 1),
		"pod without port": strings.Replace(good, `"127.0.0.1:9101"`, `"127.0.0.1:0"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if bad == good {
				t.Fatal("nothing was damaged")
			}
			path := filepath.Join(t.TempDir(), "services.json")
			if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			w, d, logs := watching(t, path)
			if err := w.Restore(); err != nil {
				t.Fatal(err)
			}
			if d.Complete() || len(d.Services()) != 0 || w.Freshness() != (Freshness{}) {
				t.Errorf("in force: %+v, %+v", d.Services(), w.Freshness())
			}
			aside, err := filepath.Glob(path + ".damaged-*")
			if err != nil || len(aside) != 1 || logs.FilterMessageSnippet("kept aside").Len() != 1 {
				t.Fatalf("kept aside: %v, %v; logged %v", aside, err, logs.All())
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || string(kept) != bad {
				t.Errorf("aside is %q, %v", kept, err)
			}
		})
	}
}

func TestNoStateFileIsNoError(t *testing.T) {
	w, d, logs := watching(t, filepath.Join(t.TempDir(), "services.json"))
	if err := w.Restore(); err != nil || d.Complete() || logs.Len() != 0 {
		t.Errorf("%v, complete %v, logged %v", err, d.Complete(), logs.All())
	}
	w, _, _ = watching(t, t.TempDir()) // a folder cannot be read, and is left alone
	if err := w.Restore(); err == nil {
		t.Error("a folder was read")
	}
}

// live is a running watcher with a state file.
type live struct {
	*Watcher
	stop func()

	mu    sync.Mutex
	saved []error
}

func startLive(t *testing.T, address, path string, services Services) *live {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	l := &live{}
	l.Watcher, err = NewWatcher(WatcherOptions{
		Conn: conn, NodeID: testNode, Services: services, StateFile: path,
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
		OnSaved: func(err error) { l.mu.Lock(); l.saved = append(l.saved, err); l.mu.Unlock() },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Restore(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		conn.Close()
	})
	t.Cleanup(l.stop)
	return l
}

func (l *live) attempts() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]error(nil), l.saved...)
}

func TestRestartWithoutTheServer(t *testing.T) {
	xds, path := startXDS(t), filepath.Join(t.TempDir(), "services.json")
	d := newDirectory(t)
	l := startLive(t, xds.address, path, d)
	if f := l.Freshness(); f.Connected || f.Age(time.Now()) != 0 {
		t.Errorf("before anything came: %+v", f)
	}
	xds.push("1", chat(), "chat@1", pods(2))
	eventually(t, "the first file", func() bool { _, err := os.Stat(path); return err == nil })
	xds.push("2", chat(rejecting), "chat@1", pods(3))
	eventually(t, "the change", func() bool { return podCount(d) == 3 })
	l.stop() // what was not written yet is
	xds.grpc.Stop()
	if n := len(l.attempts()); n == 0 || n > 4 {
		t.Errorf("written %d times for two changes", n)
	}
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}

	d = newDirectory(t)
	l = startLive(t, xds.address, path, d)
	if podCount(d) != 3 || !d.Complete() || inForce(d).Service.Session.OnPodLoss != statefulroute.Reject {
		t.Fatalf("in force without the server: %+v", d.Services())
	}
	if f := l.Freshness(); f.Connected || !f.FromFile || f.Age(time.Now()).Round(time.Minute) != time.Hour {
		t.Errorf("said of what is an hour old: %+v", f)
	}
	server, err := extproc.NewServer(extproc.ServerOptions{Directory: d, Table: extproc.MemoryTable{Table: extproctest.NewTable(t)}})
	if err != nil {
		t.Fatal(err)
	}
	extproctest.Ask(t, server, "chat", "a")
	xds.forget()
	xds.listen(xds.address)
	eventually(t, "the server's answer", func() bool { return l.Freshness().Connected })
	if f := l.Freshness(); f.FromFile || f.Age(time.Now()) != 0 {
		t.Errorf("said of what the server stands behind: %+v", f)
	}
	resumed := xds.find(func(r *discoveryv3.DeltaDiscoveryRequest) bool { return r.GetTypeUrl() == clusterType })
	if v := resumed.GetInitialResourceVersions()["chat"]; v == "" {
		t.Error("the stream does not go on from the versions of the file")
	}
	xds.push("3", chat(rejecting), "chat@1", pods(1))
	eventually(t, "the news", func() bool { return podCount(d) == 1 })
	if n := d.BalancerStats()["chat"].TotalRequests; n != 1 {
		t.Errorf("the balancer knows of %d requests, want 1: the service was built anew", n)
	}
	l.stop()
	if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) > time.Minute {
		t.Errorf("the file is of %v, %v: it was right until now", info.ModTime(), err)
	}
}

// A file that cannot be written is told of, and tried again.
func TestStateThatCannotBeWritten(t *testing.T) {
	xds, dir := startXDS(t), filepath.Join(t.TempDir(), "later")
	path := filepath.Join(dir, "services.json")
	l := startLive(t, xds.address, path, newDirectory(t))
	xds.push("1", chat(), "chat@1", pods(2))
	eventually(t, "a failed attempt", func() bool { a := l.attempts(); return len(a) > 0 && a[0] != nil })
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a second attempt", func() bool { a := l.attempts(); return len(a) > 1 && a[len(a)-1] == nil })
	text, err := os.ReadFile(path)
	if err != nil || !json.Valid(text) {
		t.Errorf("%s, %v", text, err)
	}
}

// Weights change each second; the file does not.
func TestOnlyWhatDiffersIsWritten(t *testing.T) {
	w, _, _ := watching(t, "unused")
	w.noteChange(changes{assignments: []string{"chat@1"}})
	if len(w.changed) != 0 {
		t.Error("a change of versions is worth a file")
	}
	w.noteChange(changes{gone: []string{"chat"}})
	w.noteChange(changes{gone: []string{"mail"}})
	if len(w.changed) != 1 {
		t.Error("a change is not saved")
	}
}
