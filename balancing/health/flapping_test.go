package health_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/balancing/health"
)

// flapper is a pod that is up and down for half a period each, from begin on.
type flapper struct {
	begin, period time.Duration
}

func (f flapper) down(at time.Duration) bool {
	return at >= f.begin && math.Mod((at-f.begin).Seconds(), f.period.Seconds()) < f.period.Seconds()/2
}

// flapped is a service under probes, and sessions that send a request every tenth of
// a second. A session whose pod is out goes to another: to one that flaps where it may.
type flapped struct {
	t        testing.TB
	p        *prober
	pods     []string
	flappers map[string]flapper
	sessions []string            // the pod of each
	moves    map[int][]time.Time // by session
	outs     map[string]int      // times a pod was taken out
	up, down health.Outcome      // what probes of a pod find
	random   *rand.Rand
}

func newFlapped(t testing.TB, opts health.Options, n int, flappers ...flapper) *flapped {
	f := &flapped{
		t: t, flappers: map[string]flapper{}, moves: map[int][]time.Time{}, outs: map[string]int{},
		random: rand.New(rand.NewPCG(opts.Seed, 3)), up: health.Passed, down: health.Failed,
	}
	for i := range n {
		f.pods = append(f.pods, podName(i))
	}
	for i, x := range flappers {
		f.flappers[podName(i)] = x
	}
	for range 40 {
		f.sessions = append(f.sessions, podName(f.random.IntN(n)))
	}
	f.p = newProber(newChecker(t, opts, f.pods...), opts.Seed)
	return f
}

// run probes and serves until a moment.
func (f *flapped) run(until time.Duration) {
	for now := t0.Add(until); f.p.now.Before(now); {
		f.p.runAs(f.p.now.Add(100*time.Millisecond), func(pod string) health.Outcome {
			if x, flaps := f.flappers[pod]; flaps && x.down(f.p.now.Sub(t0)) {
				return f.down
			}
			return f.up
		})
		for _, change := range f.p.log {
			var pod, word string
			if _, err := fmt.Sscan(change, &pod, &word); err == nil && word == "down" {
				f.outs[pod]++
			}
		}
		f.p.log = nil
		f.serve()
	}
}

func (f *flapped) serve() {
	var takers, up []string
	for _, pod := range f.pods {
		if f.p.h.Healthy(pod) {
			if up = append(up, pod); !f.p.h.Avoided(pod) {
				takers = append(takers, pod)
			}
		}
	}
	if len(takers) == 0 {
		f.t.Fatalf("nobody takes sessions: up are %v", up)
	}
	for i, pod := range f.sessions {
		if f.p.h.Healthy(pod) {
			continue
		}
		f.sessions[i] = takers[f.random.IntN(len(takers))]
		for _, to := range takers {
			if _, flaps := f.flappers[to]; flaps {
				f.sessions[i] = to
			}
		}
		f.moves[i] = append(f.moves[i], f.p.now)
	}
}

// worst is the largest number of moves of one session within a minute.
func (f *flapped) worst() (worst int) {
	for _, at := range f.moves {
		for i := range at {
			n := 0
			for n < len(at)-i && at[i+n].Sub(at[i]) <= time.Minute {
				n++
			}
			worst = max(worst, n)
		}
	}
	return worst
}

// A session moves away from a pod that flaps once, and hardly ever to another.
func TestFlappingPodsHardlyMoveSessions(t *testing.T) {
	testFlappingPods(t, health.Passed, health.Failed)
}

// The same goes for pods that refuse connections on and off while all others answer
// their probes wrongly.
func TestRefusingOnAndOffHardlyMovesSessions(t *testing.T) {
	testFlappingPods(t, health.Failed, health.Unreachable)
}

func testFlappingPods(t *testing.T, up, down health.Outcome) {
	for _, c := range []struct{ pods, flapping, worst int }{
		{2, 1, 1}, {3, 1, 1}, {3, 2, 2}, {3, 3, 2}, {2, 2, 2}, {10, 2, 2}, {10, 4, 3}, {10, 9, 5}, {10, 10, 5},
	} {
		for _, period := range []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second} {
			t.Run(fmt.Sprintf("%d of %d/%v", c.flapping, c.pods, period), func(t *testing.T) {
				worst, outs := 0, 0
				for seed := range uint64(8) {
					flappers := make([]flapper, c.flapping)
					for i := range flappers {
						flappers[i] = flapper{time.Duration(10+seed)*time.Second/4 + time.Duration(float64(i)/float64(c.flapping)*float64(period)), period}
					}
					opts := health.Options{Interval: 100 * time.Millisecond << (seed % 4), UnhealthyAfter: 1 + int(seed/4%2), Seed: seed}
					f := newFlapped(t, opts, c.pods, flappers...)
					f.up, f.down = up, down
					f.run(2 * time.Minute)
					worst = max(worst, f.worst())
					for _, n := range f.outs {
						outs = max(outs, n)
					}
				}
				t.Logf("%d moves of a session in a minute at worst, %d times a pod was out in two", worst, outs)
				if worst > c.worst {
					t.Errorf("a session moved %d times in a minute, want at most %d", worst, c.worst)
				}
			})
		}
	}
}

// An outage that does not come again costs nothing more than it did, and a pod that
// flapped is as good as any a while after.
func TestAPodThatFailsOnceIsBackAtOnce(t *testing.T) {
	opts := health.Options{Interval: time.Second, UnhealthyAfter: 2}
	p := newProber(newChecker(t, opts, "a", "b", "c"), 1)
	p.run(t0.Add(5*time.Second), failing())
	for i := range 3 {
		p.run(p.now.Add(5*time.Second), failing("a"))
		p.run(p.now.Add(1100*time.Millisecond), failing())
		if got := p.take(); got != "[a down a up]" {
			t.Errorf("outage %d: %s", i, got)
		}
		if p.h.Avoided("a") {
			t.Errorf("outage %d: new sessions avoid it", i)
		}
		p.run(p.now.Add(70*time.Second), failing())
	}
}

func TestAPodThatFlapsStaysOutLongerAndLonger(t *testing.T) {
	opts := health.Options{Interval: 100 * time.Millisecond, UnhealthyAfter: 1}
	p := newProber(newChecker(t, opts, "a", "b", "c"), 1)
	var outs []time.Duration
	for range 6 {
		p.run(p.now.Add(300*time.Millisecond), failing("a"))
		began := p.now
		for !p.h.Healthy("a") {
			p.run(p.now.Add(100*time.Millisecond), failing())
		}
		outs = append(outs, p.now.Sub(began).Round(10*time.Second))
		p.run(p.now.Add(time.Second), failing())
	}
	if want := []time.Duration{0, 3e10, 6e10, 9e10, 12e10, 15e10}; !slices.Equal(outs, want) {
		t.Errorf("it stayed out for %v, want %v", outs, want)
	}
	if p.run(p.now.Add(7*time.Minute), failing()); p.h.Avoided("a") {
		t.Error("after seven good minutes new sessions avoid it")
	}
	p.take()
	p.run(p.now.Add(300*time.Millisecond), failing("a"))
	if p.run(p.now.Add(200*time.Millisecond), failing()); !p.h.Healthy("a") {
		t.Error("after seven good minutes it is not back at once")
	}
}

// However pods flap, some pod always takes new sessions, and a session does not move
// more often than there are pods that begin to flap, and once; up to three times as often where
// probes come too seldom to see each time that a pod is down.
func TestFlappingModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(rt, "pods")
		flappers := make([]flapper, rapid.IntRange(0, n).Draw(rt, "flapping"))
		for i := range flappers {
			flappers[i] = flapper{
				time.Duration(rapid.Int64Range(0, 2e10).Draw(rt, "begin")),
				time.Duration(1e9 / rapid.Float64Range(.2, 5).Draw(rt, "hertz")),
			}
		}
		interval, most := time.Duration(rapid.Int64Range(1e8, 2e9).Draw(rt, "interval")), max(2, len(flappers))
		if slices.ContainsFunc(flappers, func(f flapper) bool { return interval > f.period/2 }) {
			most = max(2, 3*len(flappers))
		}
		f := newFlapped(t, health.Options{
			Interval:       interval,
			UnhealthyAfter: rapid.IntRange(1, 3).Draw(rt, "unhealthy after"),
			HealthyAfter:   rapid.IntRange(1, 3).Draw(rt, "healthy after"),
			Seed:           rapid.Uint64().Draw(rt, "seed"),
		}, n, flappers...)
		f.down = rapid.SampledFrom(outcomes[1:]).Draw(rt, "down")
		f.up = rapid.SampledFrom(outcomes[:f.down]).Draw(rt, "up")
		f.run(2 * time.Minute)
		if worst := f.worst(); worst > most {
			rt.Fatalf("a session moved %d times in a minute, and %d pods flap", worst, len(flappers))
		}
	})
}
