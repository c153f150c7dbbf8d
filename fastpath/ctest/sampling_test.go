//go:build cgo && linux

package ctest

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/module"
)

// asked is how many of so many requests without a session take the callout.
func asked(t *testing.T, core *module.Table, service string, of int) (n int) {
	t.Helper()
	var h module.Headers
	h.Add(":method", "GET")
	for range of {
		switch got := result(core.Decide(service, h)); got {
		case "no_key":
			n++
		case "unkeyed":
		default:
			t.Errorf("a request without a key: %s", got)
		}
	}
	return n
}

// Of requests without a session as many take the callout as the service is sampled.
func TestRequestsWithoutASessionAreSampled(t *testing.T) {
	s := newTables(t, fromHeader)
	if n := asked(t, s.core, "chat", 20); n != 20 {
		t.Errorf("%d of 20 take the callout before anything was said of it", n)
	}
	s.writer.SetSampling("chat", time.Hour)
	if n := asked(t, s.core, "chat", 100); n != 8 {
		t.Errorf("%d of 100 take the callout, one each hour; want those of a pause, 8", n)
	}
	s.writer.SetSampling("chat", time.Nanosecond) // less than can be said
	if n := asked(t, s.core, "chat", 100); n != 100 {
		t.Errorf("%d of 100 take the callout, each of which may", n)
	}
	s.writer.SetSampling("nobody", time.Hour)
}

// Each request takes the callout of a service that nothing was said of, also of those that come
// at the same time.
func TestNoneIsLeftOutWhereEachIsLookedAt(t *testing.T) {
	s := newTables(t, fromHeader)
	var threads sync.WaitGroup
	for range 4 {
		core, err := module.Open(s.path)
		if err != nil {
			t.Fatal(err)
		}
		threads.Go(func() {
			defer core.Close()
			if n := asked(t, core, "chat", 50_000); n != 50_000 {
				t.Errorf("%d of 50000 take the callout", n)
			}
		})
	}
	threads.Wait()
}

// A record that goes to another service says nothing of how the one before was sampled.
func TestSamplingEndsWithItsService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	var later time.Duration
	writer, err := fastpath.Create(fastpath.Options{Path: path, Capacity: 1, Pods: 1, Services: 1,
		Now: func() time.Duration { return fastpath.Monotonic() + later }})
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close(false)
	set := func(service string) {
		t.Helper()
		p := statefulroute.SessionPolicy{Key: []statefulroute.SessionSource{fromHeader}, FastPath: true}
		if err := writer.SetService(statefulroute.Service{Name: service, Session: p}); err != nil {
			t.Fatal(err)
		}
	}
	set("chat")
	if err := errors.Join(writer.SetPod("chat", podName(0), podAddress(0), true), writer.Activate()); err != nil {
		t.Fatal(err)
	}
	core, err := module.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	writer.SetSampling("chat", time.Hour)
	asked(t, core, "chat", 100)
	writer.RemoveService("chat")
	later = time.Minute
	set("docs")
	if n := asked(t, core, "docs", 20); n != 20 {
		t.Errorf("%d of 20 take the callout before anything was said of it", n)
	}
	writer.SetSampling("docs", time.Hour)
	if n := asked(t, core, "docs", 100); n != 8 {
		t.Errorf("%d of 100 take the callout, want 8: the one before has had its pause", n)
	}
}
