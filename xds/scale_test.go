package xds

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// fleetOf is a server, without its loop, of many services with ten pods each.
func fleetOf(tb testing.TB, services int) *Server {
	tb.Helper()
	srv, err := New(Options{Logger: zap.NewNop(), Observer: &observed{}, Boot: "a"})
	if err != nil {
		tb.Fatal(err)
	}
	list := make([]statefulroute.Service, services)
	for i := range list {
		list[i] = testService(fmt.Sprintf("service-%d", i))
		for p := range 10 {
			pod := testPod(fmt.Sprintf("pod-%d", p), 80)
			pod.Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(p)}), 80)
			list[i].Pods.Static = append(list[i].Pods.Static, pod)
		}
	}
	apply(tb, srv, func(st *state.Store, now time.Time) error { st.SetConfig(now, testGateway(), list); return nil })
	return srv
}

// apply is one turn of the loop.
func apply(tb testing.TB, srv *Server, edit func(*state.Store, time.Time) error) {
	tb.Helper()
	if err := srv.edit(edit); err != nil {
		tb.Fatal(err)
	}
	srv.advance(time.Now())
}

// flap takes a pod out, or brings it back.
func flap(tb testing.TB, srv *Server, i int) {
	apply(tb, srv, func(st *state.Store, _ time.Time) error {
		return st.SetHealth("service-3", "pod-5", state.HealthVerdict{Healthy: i%2 == 0})
	})
}

// What a change of one pod allocates does not depend on how many other services
// there are.
func TestAChangeCostsTheSameBesideManyServices(t *testing.T) {
	cost := func(services int) float64 {
		srv := fleetOf(t, services)
		for i := range 10 {
			flap(t, srv, i)
		}
		i := 0
		return testing.AllocsPerRun(50, func() { flap(t, srv, i); i++ })
	}
	if few, many := cost(10), cost(1000); many > 1.2*few {
		t.Errorf("a change makes %v allocations beside 10 services, %v beside 1,000", few, many)
	}
}

// A second's weights are one publication, and none of the extprocs' business.
func TestASecondsWeightsAreOneCheapPublication(t *testing.T) {
	srv := fleetOf(t, 100)
	for second := range 3 {
		seq := srv.caches.seq
		apply(t, srv, func(st *state.Store, _ time.Time) error {
			for _, svc := range srv.Model().Services {
				for i, m := range svc.Members {
					if err := st.SetWeight(svc.Name, m.Name, uint32(100+second+i)); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if srv.caches.seq != [2]uint64{seq[wire.Envoy] + 1, seq[wire.Extproc]} {
			t.Errorf("publications went from %v to %v", seq, srv.caches.seq)
		}
		if w := srv.Model().Services[99].Members[9].EffectiveWeight; w != uint32(109+second) {
			t.Errorf("weight %d", w)
		}
		select {
		case <-srv.Changed():
			if second > 0 {
				t.Error("the prober was told of weights")
			}
		default:
		}
	}
}

func BenchmarkAPodsChange(b *testing.B) {
	for _, services := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(services), func(b *testing.B) {
			srv := fleetOf(b, services)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				flap(b, srv, i)
				i++
			}
		})
	}
}
