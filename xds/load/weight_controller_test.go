package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/state"
)

func TestWeightsFollowTheLoad(t *testing.T) {
	a, b, c := testPod("a", 1), testPod("b", 2), testPod("c", 3)
	chat := &state.ServiceView{Service: statefulroute.Service{Name: "chat"}}
	chat.Balancing.ResponseTimeWindow = 10 * time.Second
	for _, p := range []statefulroute.Pod{a, b, c} {
		chat.Members = append(chat.Members, state.Member{Pod: p, EffectiveWeight: 1})
	}
	model := state.Model{Services: []*state.ServiceView{chat}}
	set, suspects := recordedWeights{}, recordedSuspects{}
	var taken int
	s := &WeightController{
		Logger: zap.NewNop(), Loads: NewStore(), Set: set, Prober: suspects, Model: func() state.Model { return model },
		Observe: func(Taken) { taken++ }, services: map[string]*controlledService{},
	}
	now := time.Unix(1000, 0)
	// c answers ten times slower than its peers: as many in flight for a tenth
	// of the answers.
	for range 15 {
		now = now.Add(time.Second)
		s.Loads.Report(now, "envoy", clusterStats(podStats(a, 100, 0, 4), podStats(b, 100, 0, 4), podStats(c, 10, 0, 4)), model)
		s.step(t.Context(), now, time.Second)
	}
	if w := set["chat"]; w["c"]*2 >= w["a"] || w["c"]*2 >= w["b"] || w["c"] == 0 {
		t.Errorf("15 s after c became slow: %v", w)
	}
	for range 60 {
		now = now.Add(time.Second)
		s.Loads.Report(now, "envoy", clusterStats(podStats(a, 100, 0, 4), podStats(b, 100, 0, 4), podStats(c, 100, 0, 4)), model)
		s.step(t.Context(), now, time.Second)
	}
	if w := set["chat"]; float64(w["c"]) < .75*float64(w["a"]) {
		t.Errorf("a minute after c recovered: %v", w)
	}
	// From now on a streams, c hangs, and b is asked nothing.
	streams, hung := podStats(a, 4, 0, 4), podStats(c, 0, 0, 9)
	hung.TotalIssuedRequests = 9
	for range 12 {
		now = now.Add(time.Second)
		s.Loads.Report(now, "envoy", clusterStats(streams, podStats(b, 0, 0, 0), hung), model)
		s.step(t.Context(), now, time.Second)
		streams, hung = podStats(a, 0, 0, 4), podStats(c, 0, 0, 9)
	}
	if suspects["c"] == 0 || suspects["a"]+suspects["b"] > 0 {
		t.Errorf("suspects: %v; c answered nothing, a's streams are open, b was asked nothing", suspects)
	}
	if taken != 87 {
		t.Errorf("observed %d seconds of 87", taken)
	}
}

// loadLoop is a WeightController on a store, and Envoys that report a second of requests
// before each step: c answers ten times slower than a and b.
type loadLoop struct {
	t     *testing.T
	store *state.Store
	s     *WeightController
	now   time.Time
	pods  []statefulroute.Pod
	// fails makes the next pushes fail.
	fails  bool
	pushes int
}

func newLoadLoop(t *testing.T) *loadLoop {
	l := &loadLoop{t: t, store: state.NewStore(), now: time.Unix(1000, 0), pods: []statefulroute.Pod{testPod("a", 1), testPod("b", 2), testPod("c", 3)}}
	l.s = &WeightController{
		Logger: zap.NewNop(), Loads: NewStore(), Set: l, Prober: recordedSuspects{},
		Model: func() state.Model { return l.store.Model() }, services: map[string]*controlledService{},
	}
	l.configure(func(*statefulroute.Service) {})
	return l
}

func (l *loadLoop) configure(edit func(*statefulroute.Service)) {
	svc := statefulroute.Service{Name: "chat"}
	svc.Balancing = statefulroute.BalancingPolicy{Strategy: "least_response_time", ResponseTimeWindow: 30 * time.Second}
	svc.Pods.Static = l.pods
	edit(&svc)
	l.store.SetConfig(l.now, state.Gateway{}, []statefulroute.Service{svc})
}

func (l *loadLoop) SetWeights(_ context.Context, weights map[string]map[string]uint32) error {
	l.pushes++
	if l.fails {
		return errors.New("not now")
	}
	for service, pods := range weights {
		for pod, w := range pods {
			if err := l.store.SetWeight(service, pod, w); err != nil {
				l.t.Error(err)
			}
		}
	}
	return nil
}

func (l *loadLoop) run(seconds int) {
	pods := l.store.Model()
	for range seconds {
		l.now = l.now.Add(time.Second)
		l.s.Loads.Report(l.now, "envoy", clusterStats(podStats(l.pods[0], 100, 0, 4), podStats(l.pods[1], 100, 0, 4), podStats(l.pods[2], 10, 0, 4)), pods)
		l.s.step(l.t.Context(), l.now, time.Second)
	}
}

// weight is the effective weight of a pod, relative to a's.
func (l *loadLoop) weight(pod int) float64 {
	members := l.store.Model().Services[0].Members
	return float64(members[pod].EffectiveWeight) / float64(members[0].EffectiveWeight)
}

func TestAPodThatFlapsGetsItsWeightBack(t *testing.T) {
	l := newLoadLoop(t)
	l.run(60) // nothing moves any more
	l.configure(func(svc *statefulroute.Service) { svc.Pods.Static = l.pods[:1] })
	l.configure(func(*statefulroute.Service) {})
	if l.weight(1) == 1 {
		t.Fatal("the test removes nothing")
	}
	l.run(2)
	if got := l.weight(1); got != 1 {
		t.Errorf("b weighs %v times a after it was gone for a moment", got)
	}
}

func TestAPushThatFailedIsRepeatedOnceASecond(t *testing.T) {
	l := newLoadLoop(t)
	l.fails = true
	l.run(60)
	if l.pushes != 60 {
		t.Errorf("%d pushes in a minute, want 60", l.pushes)
	}
	for range 10 {
		l.now = l.now.Add(100 * time.Millisecond)
		l.s.step(t.Context(), l.now, 100*time.Millisecond)
	}
	if l.pushes != 61 {
		t.Errorf("%d pushes within a second, want 1", l.pushes-60)
	}
	l.fails = false
	l.run(2)
	if got := l.weight(2); got > .5 {
		t.Errorf("the slow pod weighs %v times a fast one after pushes work again", got)
	}
}

// One of several clients lies about a pod, in every way that can be believed of one
// client. The pod keeps its weight.
func TestOneLiarMovesNoWeight(t *testing.T) {
	for _, honest := range []int{2, 9} {
		for name, lie := range map[string]func(p statefulroute.Pod) *endpointv3.UpstreamEndpointStats{
			"slow":           func(p statefulroute.Pod) *endpointv3.UpstreamEndpointStats { return timedStats(p, 20, 600) },
			"slow and often": func(p statefulroute.Pod) *endpointv3.UpstreamEndpointStats { return timedStats(p, 1e6, 3e7) },
			"failing":        func(p statefulroute.Pod) *endpointv3.UpstreamEndpointStats { return podStats(p, 0, 20, 0) },
			"failing often":  func(p statefulroute.Pod) *endpointv3.UpstreamEndpointStats { return podStats(p, 0, 1e6, 0) },
			"hanging": func(p statefulroute.Pod) *endpointv3.UpstreamEndpointStats {
				e := timedStats(p, 20, .4)
				e.TotalRequestsInProgress = 1e6
				return e
			},
		} {
			t.Run(fmt.Sprintf("%s beside %d", name, honest), func(t *testing.T) {
				l := newLoadLoop(t)
				pods := l.store.Model()
				for range 60 {
					l.now = l.now.Add(time.Second)
					for client := range honest {
						var stats []*endpointv3.UpstreamEndpointStats
						for _, p := range l.pods {
							stats = append(stats, timedStats(p, 20, .4))
						}
						l.s.Loads.Report(l.now, fmt.Sprint(client), clusterStats(stats...), pods)
					}
					l.s.Loads.Report(l.now, "liar", clusterStats(timedStats(l.pods[0], 20, .4), timedStats(l.pods[1], 20, .4), lie(l.pods[2])), pods)
					l.s.step(t.Context(), l.now, time.Second)
				}
				if got := l.weight(2); got < .8 || got > 1.25 {
					t.Errorf("the pod weighs %v times the others", got)
				}
			})
		}
	}
}

// A change of the policy keeps what was learned, unless it was for another slow
// start; and however weights begin anew, they move in bounded steps.
func TestAChangeOfPolicyKeepsTheWeights(t *testing.T) {
	for _, c := range []struct {
		name  string
		edit  func(*statefulroute.Service)
		keeps bool
	}{
		{"max_sessions", func(s *statefulroute.Service) { s.Balancing.MaxSessions = 1000 }, true},
		{"response_time_window", func(s *statefulroute.Service) { s.Balancing.ResponseTimeWindow = time.Minute }, true},
		{"strategy", func(s *statefulroute.Service) { s.Balancing.Strategy = "peak_ewma" }, true},
		{"slow_start", func(s *statefulroute.Service) { s.Balancing.SlowStart = time.Minute }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLoadLoop(t)
			l.run(40)
			before := l.weight(2)
			if before > .1 {
				t.Fatalf("the slow pod weighs %v times a fast one", before)
			}
			l.configure(c.edit)
			l.run(1)
			if got := l.weight(2); c.keeps && got != before {
				t.Errorf("the weight of the slow pod went from %v to %v", before, got)
			}
			l.run(40)
			if got := l.weight(2); got > .1 {
				t.Errorf("a while later the slow pod weighs %v times a fast one", got)
			}
		})
	}
}

// Whoever chooses a round robin wants exactly the configured weights, at once; and
// back under a strategy that follows the load, weights start from these.
func TestARoundRobinHasTheConfiguredWeights(t *testing.T) {
	l := newLoadLoop(t)
	l.run(40)
	for _, strategy := range []string{"round_robin", "weighted_round_robin"} {
		l.configure(func(svc *statefulroute.Service) { svc.Balancing.Strategy, svc.Balancing.FixedWeights = strategy, true })
		if err := l.store.SetWeight("chat", "a", 70); err != nil { // one that was under way
			t.Error(err)
		}
		pushes := l.pushes
		l.run(5)
		for _, m := range l.store.Model().Services[0].Members {
			if m.EffectiveWeight != m.Weight {
				t.Errorf("%s: %s weighs %d, configured %d", strategy, m.Name, m.EffectiveWeight, m.Weight)
			}
		}
		if l.pushes != pushes {
			t.Errorf("%s: %d pushes", strategy, l.pushes-pushes)
		}
	}
	l.configure(func(*statefulroute.Service) {})
	last := 1.0
	for range 40 {
		l.run(1)
		if got := l.weight(2); got < last/2-.001 { // weights are whole thousandths
			t.Fatalf("the weight of the slow pod fell from %v to %v in one step", last, got)
		} else {
			last = got
		}
	}
	if last > .1 {
		t.Errorf("the slow pod ends at %v times a fast one", last)
	}
}

type recordedWeights map[string]map[string]uint32

func (r recordedWeights) SetWeights(_ context.Context, weights map[string]map[string]uint32) error {
	maps.Copy(r, weights)
	return nil
}

type recordedSuspects map[string]int

func (r recordedSuspects) Suspect(_ context.Context, _, pod string) { r[pod]++ }

// manyPods is a store with n pods, and a client's report of all of them.
func manyPods(n int) (*state.Store, []*endpointv3.ClusterStats) {
	var pods []statefulroute.Pod
	var stats []*endpointv3.UpstreamEndpointStats
	for i := range n {
		p := testPod(fmt.Sprintf("chat-%d", i), 80)
		p.Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
		pods = append(pods, p)
		stats = append(stats, podStats(p, 1, 0, 0))
	}
	st, svc := state.NewStore(), statefulroute.Service{Name: "chat"}
	svc.Pods.Static = pods
	st.SetConfig(time.Unix(1000, 0), state.Gateway{}, []statefulroute.Service{svc})
	return st, clusterStats(stats...)
}

// aSecond is what every second costs beside Envoy's resources: a report, the
// look at which pods are left, and new weights.
func aSecond(tb testing.TB, st *state.Store, l *Store, stats []*endpointv3.ClusterStats, weights map[string]uint32) {
	model := st.Model()
	l.Report(time.Unix(1000, 0), "envoy", stats, model)
	l.Keep(model.HasPod)
	for pod, w := range weights {
		if err := st.SetWeight("chat", pod, w); err != nil {
			tb.Fatal(err)
		}
	}
}

func weightsOf(st *state.Store) map[string]uint32 {
	out := map[string]uint32{}
	for _, m := range st.Model().Services[0].Members {
		out[m.Name] = 7
	}
	return out
}

// Ten times the pods take about ten times as long: nothing looks at all of them for
// each of them.
func BenchmarkASecondOfPods(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			st, stats := manyPods(n)
			l, weights := NewStore(), weightsOf(st)
			for b.Loop() {
				aSecond(b, st, l, stats, weights)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/pod")
		})
	}
}
