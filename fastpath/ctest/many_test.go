//go:build cgo && linux

package ctest

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/module"
)

// fleet is a table of so many services, each with as many pods, and a session on each pod.
func fleet(t testing.TB, services, each int) *module.Table {
	t.Helper()
	path := filepath.Join(t.TempDir(), "table")
	w, err := fastpath.Create(fastpath.Options{Path: path, Capacity: 2 * services * each, Pods: services * each, Services: services})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(false); err != nil {
			t.Error(err)
		}
	})
	for s := range services {
		svc := statefulroute.Service{Name: serviceName(s), Session: statefulroute.SessionPolicy{FastPath: true, Key: []statefulroute.SessionSource{fromHeader}}}
		if err := w.SetService(svc); err != nil {
			t.Fatal(err)
		}
		if err := w.SetService(statefulroute.Service{Name: serviceName(s / 3), Session: svc.Session}); err != nil { // some are as old as others are new
			t.Fatal(err)
		}
		for p := range each {
			if err := w.SetPod(svc.Name, podName(p), fleetAddress(s, p), true); err != nil {
				t.Fatal(err)
			}
			if !w.Publish(svc.Name, fmt.Sprint("s", p), podName(p), 0, 0) {
				t.Fatal("no place")
			}
		}
	}
	if err := w.Activate(); err != nil {
		t.Fatal(err)
	}
	core, err := module.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(core.Close)
	return core
}

func serviceName(i int) string { return fmt.Sprint("service-", i) }

func fleetAddress(service, pod int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(service >> 8), byte(service)}), uint16(8000+pod))
}

// Of a thousand services with ten thousand pods every session is found, and on its own pod.
func TestAFleetFits(t *testing.T) {
	t.Parallel()
	const services, each = 1000, 10
	core := fleet(t, services, each)
	at := make([]uintptr, services)
	for round := range 2 {
		for s := range services {
			if kept := at[s]; round > 0 && kept != core.PolicyAt(serviceName(s)) {
				t.Fatalf("the policy of service %d was parsed once more", s)
			}
			for p := range each {
				var h module.Headers
				h.Add(":method", "GET")
				h.Add(fromHeader.Name, fmt.Sprint("s", p))
				if v := core.Decide(serviceName(s), h); !v.Skip || v.Address != fleetAddress(s, p).String() {
					t.Fatalf("session %d of service %d: %+v, want %s", p, s, v, fleetAddress(s, p))
				}
			}
			at[s] = core.PolicyAt(serviceName(s))
		}
	}
}

// BenchmarkDecide is a request of another service each time.
func BenchmarkDecide(b *testing.B) {
	for _, services := range []int{1, 1000} {
		b.Run(fmt.Sprint(services, " services"), func(b *testing.B) {
			core := fleet(b, services, 10)
			var h module.Headers
			h.Add(":method", "GET")
			h.Add(fromHeader.Name, "s1")
			names := make([]string, services)
			for i := range names {
				names[i] = serviceName(i)
			}
			for i := 0; b.Loop(); i++ {
				if !core.Decide(names[i%services], h).Skip {
					b.Fatal("not known")
				}
			}
		})
	}
}
