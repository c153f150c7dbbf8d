package play

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/stickiness/check"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/reference"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

func TestMain(m *testing.M) {
	pod.RunIfChild()
	goleak.VerifyTestMain(m)
}

// short is a run of a few seconds.
func short() schedule.Load {
	return schedule.Load{Sessions: 40, Rate: 100, Duration: 2 * time.Second}
}

func named(t *testing.T, name string) schedule.Schedule {
	t.Helper()
	for _, s := range schedule.All() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no schedule %q", name)
	return schedule.Schedule{}
}

func played(t *testing.T, spoil reference.Spoil, name string, load schedule.Load) Outcome {
	t.Helper()
	out := Play(t.Context(), Run{Adapter: reference.Adapter(spoil), Schedule: named(t, name), Seed: 1, Load: load, Dir: t.TempDir(), Waits: Waits{HealthCheck: time.Minute, Answer: time.Minute}})
	if out.Err != nil {
		t.Fatal(out.Err)
	}
	return out
}

func show(t *testing.T, out Outcome) {
	t.Helper()
	b, err := json.Marshal(out.Result)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", b)
}

// The right proxy passes every schedule, and nothing that the check counts is missing.
func TestTheReferencePassesEverySchedule(t *testing.T) {
	for _, s := range schedule.All() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			out := played(t, reference.Spoil{}, s.Name, short())
			show(t, out)
			if out.NotFor != "" {
				return
			}
			r := out.Result
			if !r.Kept() || r.Records == 0 || r.Counts[check.Right] < r.Records/2 {
				t.Error("the right proxy was found wrong, or hardly anything was right")
			}
			if r.Unexplained[check.Failed] > 0 || r.Unexplained[check.Refused] > 0 {
				t.Error("something failed or was refused, and no fault explains it")
			}
			sum := 0
			for _, n := range r.Counts {
				sum += n
			}
			if sum != r.Records {
				t.Errorf("%d records, %d sorted", r.Records, sum)
			}
		})
	}
}

func TestOneOfAThousandMisroutedIsFound(t *testing.T) {
	var misrouted atomic.Int64
	out := played(t, reference.Spoil{Route: func(n int64, right string, all []string) string {
		if n%1000 != 0 {
			return right
		}
		misrouted.Add(1)
		for _, other := range all {
			if other != right {
				return other
			}
		}
		return right
	}}, "calm", schedule.Load{Sessions: 100, Rate: 800, Duration: 4 * time.Second})
	show(t, out)
	if want := int(misrouted.Load()); want == 0 || out.Result.Counts[check.WrongPod] != want || out.Result.Reasons[check.WrongPod]["another pod"] != want {
		t.Errorf("%d misrouted", want)
	}
}

// The proxy says another id to the pod than the client said to it.
func TestALostVisitIsFound(t *testing.T) {
	var n atomic.Int64
	const which = 100 // a session's first visit is none that could lose anything
	out := played(t, reference.Spoil{Outgoing: func(h http.Header) {
		if n.Add(1) == which {
			h.Set("X-Session-Id", h.Get("X-Session-Id")[:8])
		}
	}}, "calm", short())
	show(t, out)
	if r := out.Result; r.Counts[check.LostVisits] != 1 || r.Counts[check.Right] != r.Records-1 {
		t.Error("want one")
	}
}

// instead answers for a pod that may not serve.
func instead(answered *atomic.Int64, answer func(w http.ResponseWriter, r *http.Request, pod string)) reference.Spoil {
	return reference.Spoil{Instead: func(w http.ResponseWriter, r *http.Request, pod string, able bool) bool {
		if able {
			return false
		}
		answered.Add(1)
		answer(w, r, pod)
		return true
	}}
}

func TestAnAnswerForADeadPodIsFound(t *testing.T) {
	var answered atomic.Int64
	out := played(t, instead(&answered, func(w http.ResponseWriter, r *http.Request, name string) {
		_ = json.NewEncoder(w).Encode(pod.Answer{
			Pod: name, Incarnation: 1, Session: r.Header.Get(pod.SessionHeader), Visits: 1000, Nonce: r.Header.Get(pod.NonceHeader),
		}.Sign([]byte("a guess")))
	}), "pod-kill", short())
	show(t, out)
	if want := int(answered.Load()); want == 0 || out.Result.Reasons[check.WrongPod]["signed by no pod"] != want || out.Result.Counts[check.WrongPod] != want {
		t.Errorf("it answered %d times", want)
	}
}

func TestARefusalIsSortedByItsReason(t *testing.T) {
	for reason, want := range map[string]string{"pod-lost": "503 pod-lost", "": "503 without a reason"} {
		t.Run(want, func(t *testing.T) {
			var answered atomic.Int64
			out := played(t, instead(&answered, func(w http.ResponseWriter, _ *http.Request, _ string) {
				if reason != "" {
					w.Header().Set("X-Reason", reason)
				}
				w.WriteHeader(http.StatusServiceUnavailable)
			}), "pod-kill", short())
			show(t, out)
			r, n := out.Result, int(answered.Load())
			if n == 0 || r.Reasons[check.Refused][want] != n || !r.Kept() || r.Unexplained[check.Refused] != 0 {
				t.Errorf("it refused %d times", n)
			}
		})
	}
}

func TestARefusalThatNothingExplainsIsCounted(t *testing.T) {
	var n, refused atomic.Int64
	out := played(t, reference.Spoil{Instead: func(w http.ResponseWriter, _ *http.Request, _ string, _ bool) bool {
		if n.Add(1)%10 != 0 {
			return false
		}
		refused.Add(1)
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}}, "calm", short())
	show(t, out)
	if want := int(refused.Load()); want == 0 || out.Result.Unexplained[check.Refused] != want {
		t.Errorf("it refused %d times", want)
	}
}

// slow takes longer for a new list than the whole plan does.
type slow struct {
	gateway.Gateway
	by time.Duration
}

func (s slow) SetPods(ctx context.Context, pods []gateway.Pod) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.by):
		return s.Gateway.SetPods(ctx, pods)
	}
}

// However long a step takes, the clients go on until they have seen what comes of it.
func TestClientsGoOnUntilTheStepsAreTaken(t *testing.T) {
	a := reference.Adapter(reference.Spoil{})
	start := a.Start
	load := short()
	a.Start = func(ctx context.Context, o gateway.Options) (gateway.Gateway, error) {
		g, err := start(ctx, o)
		return slow{g, 2 * load.Duration}, err
	}
	out := Play(t.Context(), Run{Adapter: a, Schedule: named(t, "scale-down"), Seed: 1, Load: load, Dir: t.TempDir(), Waits: Waits{HealthCheck: time.Minute, Answer: time.Minute}})
	if out.Err != nil {
		t.Fatal(out.Err)
	}
	show(t, out)
	removed := out.History.Marks[0].Until
	after := 0
	for _, r := range out.History.Records {
		if r.Sent > removed {
			after++
		}
	}
	if removed < 2*load.Duration || after < load.Sessions || !out.Result.Kept() {
		t.Errorf("removed at %s, %d visits after it", removed, after)
	}
}

// A gateway whose ports were taken when it wanted them is started again.
func TestAStartIsTriedAgain(t *testing.T) {
	var starts atomic.Int64
	a := reference.Adapter(reference.Spoil{})
	start := a.Start
	a.Start = func(ctx context.Context, o gateway.Options) (gateway.Gateway, error) {
		if starts.Add(1) == 1 {
			return nil, errors.New("address already in use")
		}
		return start(ctx, o)
	}
	waits := Waits{HealthCheck: time.Minute, Answer: time.Minute}
	out := Play(t.Context(), Run{Adapter: a, Schedule: named(t, "calm"), Seed: 1, Load: short(), Dir: t.TempDir(), Waits: waits})
	if out.Err != nil || starts.Load() != 2 || out.Result.Records == 0 {
		t.Errorf("%d starts: %v", starts.Load(), out.Err)
	}
	a.Start = func(context.Context, gateway.Options) (gateway.Gateway, error) { return nil, errors.New("broken") }
	if out := Play(t.Context(), Run{Adapter: a, Schedule: named(t, "calm"), Seed: 1, Load: short(), Dir: t.TempDir(), Waits: waits}); out.Err == nil {
		t.Error("what does not start was played")
	}
}

// What was ended before its time is no result.
func TestAnEndedRunIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	long := short()
	long.Duration = time.Hour
	out := Play(ctx, Run{Adapter: reference.Adapter(reference.Spoil{}), Schedule: named(t, "calm"), Seed: 1, Load: long, Dir: t.TempDir(), Waits: Waits{HealthCheck: time.Minute, Answer: time.Minute}})
	if out.Err == nil || out.Result.Records != 0 {
		t.Errorf("%v, %d records", out.Err, out.Result.Records)
	}
}
