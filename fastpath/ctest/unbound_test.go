//go:build cgo && linux

package ctest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/fastpathtest"
	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
	"github.com/stateful-route/stateful-route/fastpath/module"
)

const (
	respond = 3 * time.Millisecond
	last    = 10 * time.Millisecond
)

// serve has a request with these headers be answered by who is at an address.
func serve(core *module.Table, service, upstream string, status int, headers ...string) string {
	var h module.Headers
	h.Add(":method", "GET")
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return layout.Results()[core.Serve(service, h, upstream, status, respond, last)]
}

// harvested is what was counted, by service and pod.
func harvested(w *fastpath.Table) map[string]fastpath.PodUse {
	all := map[string]fastpath.PodUse{}
	w.Harvest(func(service, pod string, u *fastpath.PodUse) { all[service+"/"+pod] = *u })
	return all
}

// Requests without a session take no callout, and count for the pod that has answered them: apart from
// those of sessions, but for how long they took.
func TestRequestsWithoutASessionCountForTheirPods(t *testing.T) {
	s := newTables(t, fromHeader)
	s.writer.Publish("chat", "s", podName(1), 0, 0)
	for _, c := range []struct {
		want, at string
		status   int
		headers  []string
	}{
		{"unkeyed", podAddress(1).String(), 200, nil},
		{"unkeyed", podAddress(1).String(), 204, nil},
		{"unkeyed", podAddress(1).String(), 503, nil},
		{"unkeyed", podAddress(2).String(), 200, nil},
		{"unkeyed", "127.0.0.1:1", 200, nil},
		{"unkeyed", "", 503, nil},
		{"unkeyed", podAddress(0).String(), 0, nil},
		{"hit", podAddress(1).String(), 200, []string{"x-session-id", "s"}},
	} {
		if got := serve(s.core, "chat", c.at, c.status, c.headers...); got != c.want {
			t.Fatalf("%+v: %s", c, got)
		}
	}
	times := func(n, of int) (u fastpath.PodUse) {
		u.DurationSum, u.Durations[fastpath.BucketOf(last)] = time.Duration(n)*last, uint32(n)
		u.Responses[fastpath.BucketOf(respond)] = uint32(of)
		return u
	}
	zero, one, two, none := times(1, 0), times(4, 3), times(1, 1), times(2, 1)
	zero.Unbound[0][0], zero.Aborted = 1, 1
	one.Unbound[0][2], one.Unbound[0][5], one.Requests[0][2] = 2, 1, 1
	one.ResponseSum, one.Responded, one.UnboundResponseSum = respond, 1, 2*respond
	two.Unbound[0][2], two.UnboundResponseSum = 1, respond
	none.Requests[0][2], none.Requests[0][5], none.UnboundResponseSum = 1, 1, respond
	got := harvested(s.writer)
	for pod, want := range map[string]fastpath.PodUse{podName(0): zero, podName(1): one, podName(2): two, "": none} {
		if got["chat/"+pod] != want {
			t.Errorf("%q:\n%+v\nwant\n%+v", pod, got["chat/"+pod], want)
		}
	}
	if again := harvested(s.writer); len(again) > 0 {
		t.Errorf("counted or in flight once more: %v", again)
	}
	other, err := fastpathtest.Open(s.path, uint32(os.Getpid()), fastpath.Monotonic)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.Begin(other.Lookup("chat", "s"))
	if u := harvested(s.writer)["chat/"+podName(1)]; u.InFlight != 1 {
		t.Errorf("%d in flight, want the one of a session", u.InFlight)
	}
}

// Wherever pods come, move and go, an address is that of the pod which has been set there last, of
// the service that is asked.
func TestAnAddressIsThatOfItsPod(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	var clock time.Duration
	w, err := fastpath.Create(fastpath.Options{Path: path, Capacity: 1, Pods: 30, Services: 2,
		Now: func() time.Duration { return fastpath.Monotonic() + clock }})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(false)
	services := []string{"chat", "docs"}
	for _, name := range services {
		p := statefulroute.SessionPolicy{Key: []statefulroute.SessionSource{fromHeader}, FastPath: true}
		err = errors.Join(err, w.SetService(statefulroute.Service{Name: name, Session: p}))
	}
	if err := errors.Join(err, w.Activate()); err != nil {
		t.Fatal(err)
	}
	core, err := module.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	seed := rand.Uint64()
	rng, at, set := rand.New(rand.NewPCG(1, seed)), map[string]string{}, 0
	address := func(i int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("[fd00::%x]:80", i)) }
	for step := range 20_000 {
		service, pod, to := services[rng.IntN(2)], podName(rng.IntN(40)), address(rng.IntN(16))
		for where, name := range at {
			if name == service+"/"+pod {
				delete(at, where)
			}
		}
		if rng.IntN(2) == 0 {
			w.RemovePod(service, pod)
		} else if w.SetPod(service, pod, to, rng.IntN(3) > 0) == nil { // else there is no room
			at[service+" "+to.String()] = service + "/" + pod
			set++
		}
		clock += 20 * time.Second // now and then records are given away
		for range 3 {
			service, upstream := services[rng.IntN(2)], address(rng.IntN(16)).String()
			serve(core, service, upstream, 200)
			want := at[service+" "+upstream]
			if want == "" {
				want = service + "/"
			}
			if got := harvested(w); len(got) != 1 || got[want].DurationSum != last {
				t.Fatalf("seed %d, step %d: %s of %s counts for %v, want %s", seed, step, upstream, service, got, want)
			}
		}
	}
	if set < 5000 {
		t.Errorf("only %d pods were set", set)
	}
}
