package affinity

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

var t0 = time.Unix(1_800_000_000, 0)

func newTable(t testing.TB, o Options) *Table {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// claim binds key to pod and fails the test if it was not free.
func claim(t testing.TB, c *Table, service, key, pod string, now time.Time) {
	t.Helper()
	b, won, err := c.Claim(service, key, pod, now)
	if err != nil || !won || b.Pod != pod {
		t.Fatalf("Claim(%q, %q, %q) = %+v, %v, %v", service, key, pod, b, won, err)
	}
}

// to is a binding as who knows only its pod names it.
func to(service, key, pod string) statefulroute.Binding {
	return statefulroute.Binding{Service: service, Key: key, Pod: pod}
}

func checkIdentity(t testing.TB, c *Table) Stats {
	t.Helper()
	st := c.Stats()
	if st.Inserts != uint64(st.Size)+st.Evicted+st.Expirations+st.Deletes {
		t.Fatalf("inserts %d != size %d + evicted %d + expired %d + deleted %d",
			st.Inserts, st.Size, st.Evicted, st.Expirations, st.Deletes)
	}
	return st
}

func TestFirstWriterWins(t *testing.T) {
	c := newTable(t, Options{})
	claim(t, c, "chat", "k", "a", t0)
	b, won, err := c.Claim("chat", "k", "b", t0.Add(time.Second))
	if err != nil || won || b.Pod != "a" || b.Requests != 2 {
		t.Fatalf("second claim: %+v, won %v, %v", b, won, err)
	}
	claim(t, c, "other", "k", "b", t0)
	want := statefulroute.Binding{Service: "chat", Key: "k", Pod: "a", Epoch: uint64(t0.UnixMilli()), Created: t0, LastSeen: t0.Add(time.Minute), Requests: 3}
	got, ok := c.Lookup("chat", "k", t0.Add(time.Minute))
	if !ok || got != want {
		t.Fatalf("Lookup = %+v, want %+v", got, want)
	}
}

func TestRebindReplacesOnlyWhatItNames(t *testing.T) {
	c := newTable(t, Options{})
	claim(t, c, "chat", "k", "a", t0)
	if b, won, err := c.Rebind(to("chat", "k", "b"), "c", t0); err != nil || won || b.Pod != "a" {
		t.Fatalf("rebind of another pod's binding: %+v, %v, %v", b, won, err)
	}
	b, won, err := c.Rebind(to("chat", "k", "a"), "b", t0)
	if err != nil || !won || b.Pod != "b" || b.PreviousPod != "a" {
		t.Fatalf("rebind: %+v, %v, %v", b, won, err)
	}
	if _, _, err := c.Rebind(to("chat", "none", "a"), "b", t0); !errors.Is(err, statefulroute.ErrGone) {
		t.Fatalf("rebind of nothing: %v", err)
	}
	if a, b := c.PodSessions("chat", "a"), c.PodSessions("chat", "b"); a != 0 || b != 1 {
		t.Fatalf("sessions: a %d, b %d", a, b)
	}
}

func TestIdleTimeoutSlides(t *testing.T) {
	c := newTable(t, Options{DefaultExpiration: time.Minute})
	c.SetIdleTimeout("short", time.Second)
	claim(t, c, "chat", "k", "a", t0)
	claim(t, c, "short", "k", "a", t0)
	if n := c.Expire(t0.Add(time.Second)); n != 0 {
		t.Fatalf("expired %d at their very timeout", n)
	}
	if n := c.Expire(t0.Add(2 * time.Second)); n != 1 {
		t.Fatalf("expired %d, want only the short one", n)
	}
	for i := range 10 {
		if _, ok := c.Lookup("chat", "k", t0.Add(time.Duration(i)*time.Minute)); !ok {
			t.Fatalf("a binding used each minute was gone after %d", i)
		}
	}
	if _, ok := c.Lookup("chat", "k", t0.Add(11*time.Minute)); ok {
		t.Fatal("an idle binding was found")
	}
	claim(t, c, "chat", "k", "b", t0.Add(11*time.Minute))
	if st := checkIdentity(t, c); st.Expirations != 2 || st.Hits != 10 || st.Misses != 1 {
		t.Fatalf("%+v", st)
	}
}

// Whoever can ask could otherwise fill the memory with made-up names of services.
func TestAskingMakesNoService(t *testing.T) {
	c, now := newTable(t, Options{}), t0
	if _, ok := c.Lookup("made-up", "a", now); ok {
		t.Error("a service that is not there has a binding")
	}
	if _, ok := c.Peek("made-up", "a", now); ok {
		t.Error("a service that is not there has a binding")
	}
	if _, _, err := c.Rebind(to("made-up", "a", "x"), "y", now); !errors.Is(err, statefulroute.ErrGone) {
		t.Errorf("rebind: %v, want ErrGone", err)
	}
	if c.Delete("made-up", "a") {
		t.Error("a binding that is not there was deleted")
	}
	if s := c.Stats(); s.Misses != 1 {
		t.Errorf("%d misses, want the look-up's", s.Misses)
	}
	if raceEnabled {
		return // its own memory would be counted, too
	}
	const names, most = 2000, 50 // bytes for each
	before := heap()
	for i := range names {
		name := fmt.Sprintf("made-up-%0200d", i)
		c.Lookup(name, "a", now)
		c.Peek(name, "a", now)
		c.Remembered(name, "a", now)
		c.Rebind(to(name, "a", "x"), "y", now)
		c.Delete(name, "a")
		c.List(name, "", 10, "")
		c.DropPod(name, "x")
		c.Flush(name)
	}
	if per := float64(int64(heap())-int64(before)) / names; per > most {
		t.Errorf("%.0f B a name are kept", per)
	}
	runtime.KeepAlive(c)
}
