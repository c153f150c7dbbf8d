package fastpath_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/fastpathtest"
)

// harvest returns what is new, by pod.
func harvest(table *fastpath.Table) map[string]fastpath.PodUse {
	all := map[string]fastpath.PodUse{}
	table.Harvest(func(service, pod string, u *fastpath.PodUse) { all[service+"/"+pod] = *u })
	return all
}

// use has a request of a session begin.
func use(t testing.TB, r *fastpathtest.Reader, key string) fastpathtest.Answer {
	t.Helper()
	a := r.Lookup("chat", key)
	if a.Result != "hit" {
		t.Fatalf("%+v", a)
	}
	r.Begin(a)
	return a
}

// Each request is harvested once, as what it was.
func TestHarvest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	table := create(t, fastpath.Options{Path: path})
	activate(t, table)
	table.Publish("chat", "s", "chat-1", 0, 0)
	r := open(t, path, fastpath.Monotonic)
	if all := harvest(table); len(all) != 0 {
		t.Errorf("nothing was used: %v", all)
	}
	a := use(t, r, "s")
	use(t, r, "s")
	if u := harvest(table)["chat/chat-1"]; u != (fastpath.PodUse{InFlight: 2}) {
		t.Errorf("%+v", u)
	}
	r.End(a, 2, 5, 3*time.Millisecond, 10*time.Millisecond)
	u := harvest(table)["chat/chat-1"]
	want := fastpath.PodUse{InFlight: 1, DurationSum: 10 * time.Millisecond, ResponseSum: 3 * time.Millisecond, Responded: 1}
	want.Requests[2][5] = 1
	want.Durations[fastpath.BucketOf(10*time.Millisecond)] = 1
	want.Responses[fastpath.BucketOf(3*time.Millisecond)] = 1
	if u != want {
		t.Errorf("%+v", u)
	}
	r.End(a, 0, 2, time.Microsecond, 0)
	if u := harvest(table)["chat/chat-1"]; u.InFlight != 0 || u.Requests[0][2] != 1 || u.Requests[2][5] != 0 {
		t.Errorf("%+v", u)
	}
	if all := harvest(table); len(all) != 0 {
		t.Errorf("nothing is new: %v", all)
	}
	for thread := range 20 {
		r.Count(thread, "busy")
	}
	if all := table.Results(); all["busy"] != 20 || all["hit"] != 0 || len(all) != 12 {
		t.Errorf("%v", all)
	}
}

// Buckets follow each other without a gap, and each time is in its own.
func TestBounds(t *testing.T) {
	for b := range fastpath.Buckets {
		from, to := fastpath.Bounds(b)
		if next, _ := fastpath.Bounds(b + 1); from >= to || next != to {
			t.Fatalf("bucket %d: from %v to %v, the next from %v", b, from, to, next)
		}
		if fastpath.BucketOf(from) != b || fastpath.BucketOf(to-1) != b {
			t.Fatalf("%v to %v: buckets %d to %d, want %d", from, to-1, fastpath.BucketOf(from), fastpath.BucketOf(to-1), b)
		}
	}
	if fastpath.BucketOf(-1) != 0 || fastpath.BucketOf(math.MaxInt64) != fastpath.Buckets-1 {
		t.Error("what is beyond the bounds is not in the outermost buckets")
	}
}

// What a reader had in flight ends with it: when it gives its row back, when it is silent,
// and sooner when its process is gone, too.
func TestReadersThatAreGone(t *testing.T) {
	const nobody = math.MaxInt32
	for _, c := range []struct {
		name  string
		pid   uint32
		end   func(*fastpathtest.Reader)
		after time.Duration
	}{
		{"it leaves", uint32(os.Getpid()), (*fastpathtest.Reader).Leave, 0},
		{"it is silent", uint32(os.Getpid()), func(*fastpathtest.Reader) {}, 10 * time.Second},
		{"its process is gone", nobody, func(*fastpathtest.Reader) {}, 3 * time.Second},
	} {
		path, clk := filepath.Join(t.TempDir(), "table"), &clock{at: time.Hour}
		table := create(t, fastpath.Options{Path: path, Now: clk.now})
		activate(t, table)
		table.Publish("chat", "s", "chat-0", 0, 0)
		gone, err := fastpathtest.Open(path, c.pid, clk.now)
		if err != nil {
			t.Fatal(err)
		}
		stays := open(t, path, clk.now)
		use(t, gone, "s")
		use(t, gone, "s")
		use(t, stays, "s")
		if c.after > 0 {
			clk.at += c.after - 1
			stays.Beat()
			if u := harvest(table)["chat/chat-0"]; u.InFlight != 3 || len(table.Readers()) != 2 {
				t.Errorf("%s: %d in flight, readers %v", c.name, u.InFlight, table.Readers())
			}
			clk.at++
			stays.Beat()
		}
		c.end(gone)
		if u := harvest(table)["chat/chat-0"]; u.InFlight != 1 || len(table.Readers()) != 1 {
			t.Errorf("%s: %d in flight, readers %v", c.name, u.InFlight, table.Readers())
		}
		next, err := fastpathtest.Open(path, c.pid, clk.now) // takes the row
		if err != nil {
			t.Fatal(err)
		}
		use(t, next, "s")
		if u := harvest(table)["chat/chat-0"]; u.InFlight != 2 {
			t.Errorf("%s: %d in flight after another took its row", c.name, u.InFlight)
		}
		gone.Close()
		next.Close()
	}
}

// A session that was not used for hours leaves the table before its last use looks recent,
// but not before its uses were taken.
func TestSessionsNotUsedForHoursAreSwept(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "table"), &clock{at: time.Hour}
	table := create(t, fastpath.Options{Path: path, Now: c.now})
	activate(t, table)
	for _, key := range []string{"old", "in use", "counted"} {
		table.Publish("chat", key, "chat-0", 0, 0)
	}
	r := open(t, path, c.now)
	r.Lookup("chat", "counted")
	for range 5 * 60 {
		c.at += time.Minute
		harvest(table)
		if since := c.at - time.Hour; since < 2*time.Hour && !r.Holds("chat", "old") || since > 3*time.Hour && r.Holds("chat", "old") {
			t.Fatalf("%v after its last use: in the table %v", since, r.Holds("chat", "old"))
		}
		r.Lookup("chat", "in use")
	}
	if !r.Holds("chat", "in use") || !r.Holds("chat", "counted") || table.Bindings() != 2 {
		t.Errorf("%d bindings are left", table.Bindings())
	}
	if n, _, ok := table.TakeUse("chat", "counted"); n != 1 || !ok {
		t.Errorf("%d uses, %v", n, ok)
	}
}

// The record of a removed pod goes to another one only when no session has named it for a
// minute, and nothing is in flight.
func TestRecordsOfRemovedPods(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "table"), &clock{at: time.Hour}
	table := create(t, fastpath.Options{Path: path, Now: c.now, Pods: 3, Services: 1})
	activate(t, table)
	table.Publish("chat", "s", "chat-0", 0, 0)
	r := open(t, path, c.now)
	a := use(t, r, "s")
	table.RemovePod("chat", "chat-0")
	refused := func(why string) {
		t.Helper()
		r.Beat()
		if err := table.SetPod("chat", "new", addresses["chat-0"], true); err == nil {
			t.Errorf("a new pod has the record %s", why)
		}
	}
	refused("at once")
	c.at += time.Minute
	refused("while a session names it")
	table.Withdraw("chat", "s")
	c.at += time.Minute
	refused("while a request is on its way to it")
	r.End(a, 0, 2, time.Microsecond, 0)
	if err := table.SetPod("chat", "new", addresses["chat-0"], true); err != nil {
		t.Error(err)
	}
	if u, old := harvest(table)["chat/new"], harvest(table)["chat/chat-0"]; u.Requests[0][2] != 1 || old.Requests[0][2] != 0 {
		t.Errorf("new %+v, old %+v", u, old)
	}
	table.Publish("chat", "s", "new", 0, 0)
	if a := r.Lookup("chat", "s"); a.Pod != "new" {
		t.Errorf("%+v", a)
	}
}

// A reader that found a record by a session that has just left it does not find another pod there.
func TestRecordsOutliveTheirLastSession(t *testing.T) {
	c := &clock{at: time.Hour}
	table := create(t, fastpath.Options{Now: c.now, Pods: 3, Services: 1})
	table.Publish("chat", "s", "chat-0", 0, 0)
	table.RemovePod("chat", "chat-0")
	c.at += time.Hour
	table.Withdraw("chat", "s")
	c.at += time.Minute - 1
	if err := table.SetPod("chat", "new", addresses["chat-0"], true); err == nil {
		t.Error("a new pod has the record within a minute after its last session")
	}
	c.at++
	if err := table.SetPod("chat", "new", addresses["chat-0"], true); err != nil {
		t.Error(err)
	}
}
