package fastpath_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/fastpathtest"
)

func wantLive(t *testing.T, r *fastpathtest.Reader, want bool) {
	t.Helper()
	if _, live := r.Live(); live != want {
		t.Errorf("it may be acted on: %v, want %v", live, want)
	}
}

// Nobody acts on two tables of a path: when the new one is activated the one before is retired,
// though a reader has not followed.
func TestANewTableRetiresTheOneBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	first := create(t, fastpath.Options{Path: path})
	if _, err := os.Stat(path); err == nil {
		t.Error("the table is there before it is activated")
	}
	activate(t, first)
	first.Publish("chat", "s", "chat-0", 0, 0)
	before := open(t, path, fastpath.Monotonic)
	wantLive(t, before, true)
	second := create(t, fastpath.Options{Path: path})
	wantLive(t, before, true)
	activate(t, second)
	wantLive(t, before, false)
	if a := before.Lookup("chat", "s"); a.Result != "policy" {
		t.Errorf("%+v of a table that is retired", a)
	}
	after := open(t, path, fastpath.Monotonic)
	wantLive(t, after, true)
	// The first one's writer, which may be slow to end, does no harm to the second.
	if err := first.Close(false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	wantLive(t, after, true)
}

// Readers find a new table before they are to leave the one before: in between, every request
// would take the callout.
func TestATableIsRetiredWhenItsReadersHaveFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	first := create(t, fastpath.Options{Path: path})
	activate(t, first)
	before := open(t, path, fastpath.Monotonic)
	before.Beat()
	second := create(t, fastpath.Options{Path: path})
	activated := make(chan error, 1)
	was, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { activated <- second.Activate() }()
	for now, err := os.Stat(path); err != nil || os.SameFile(was, now); now, err = os.Stat(path) {
		if err != nil {
			t.Fatalf("there is no table in between: %v", err)
		}
	}
	if wantLive(t, before, true); len(second.Readers()) > 0 {
		t.Fatal("somebody has followed already")
	}
	after := open(t, path, fastpath.Monotonic)
	wantLive(t, after, true)
	if err := <-activated; err != nil {
		t.Error(err)
	}
	wantLive(t, before, false)
	activate(t, second) // again: that is nothing
	wantLive(t, after, true)
}

// A table that is left is acted on; any other way of closing ends that, and leaves nothing.
func TestCloseLeavesATableOnlyWhenTold(t *testing.T) {
	for _, leave := range []bool{true, false} {
		dir := t.TempDir()
		path := filepath.Join(dir, "table")
		table := create(t, fastpath.Options{Path: path})
		activate(t, table)
		r := open(t, path, fastpath.Monotonic)
		if err := table.Close(leave); err != nil {
			t.Error(err)
		}
		wantLive(t, r, leave)
		files, _ := os.ReadDir(dir)
		if left := len(files) == 1; left != leave {
			t.Errorf("leave %v: files %v", leave, files)
		}
		if table.Publish("chat", "s", "chat-0", 0, 0) || table.Activate() == nil || table.SetService(chat()) == nil || table.SetPod("chat", "chat-0", addresses["chat-0"], true) == nil {
			t.Error("it is used after it was closed")
		}
		table.Withdraw("chat", "s")
		table.SetLease(0)
		table.SetTracing(true, true)
		table.RemovePod("chat", "chat-0")
		table.RemoveService("chat")
		table.Harvest(func(string, string, *fastpath.PodUse) { t.Error("something is harvested") })
		if _, _, ok := table.TakeUse("chat", "s"); ok || len(table.Results()) != 0 || len(table.Readers()) != 0 {
			t.Error("it has something after it was closed")
		}
	}
}

// One that was never activated leaves nothing, whatever it is told.
func TestATableThatIsNeverActivated(t *testing.T) {
	dir := t.TempDir()
	if err := create(t, fastpath.Options{Path: filepath.Join(dir, "table")}).Close(true); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("files: %v", files)
	}
}

// What is at the path and no table is replaced, as it is.
func TestRetireOfWhatIsNoTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	if err := fastpath.Retire(path); err != nil {
		t.Errorf("nothing is there: %v", err)
	}
	for _, text := range []string{"", "short", string(make([]byte, 8192)), "strroute"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := fastpath.Retire(path); err != nil {
			t.Errorf("%q: %v", text[:min(8, len(text))], err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("%q was changed (%v)", text[:min(8, len(text))], err)
		}
	}
	activate(t, create(t, fastpath.Options{Path: path}))
	r := open(t, path, fastpath.Monotonic)
	if err := fastpath.Retire(path); err != nil {
		t.Error(err)
	}
	wantLive(t, r, false)
}

// After the lease's end nothing is answered for, until there is another one.
func TestLease(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "table"), &clock{at: time.Hour}
	table := create(t, fastpath.Options{Path: path, Now: c.now})
	activate(t, table)
	table.Publish("chat", "s", "chat-0", 0, 0)
	r := open(t, path, c.now)
	want := func(result string) {
		t.Helper()
		if a := r.Lookup("chat", "s"); a.Result != result {
			t.Errorf("%s, want %s", a.Result, result)
		}
	}
	want("hit")
	table.SetLease(c.at + time.Second)
	want("hit")
	c.at += time.Second
	want("lease")
	table.SetLease(c.at + time.Second)
	want("hit")
	table.SetLease(-time.Second)
	want("lease")
	table.SetLease(fastpath.NoLease)
	want("hit")
}

func TestOptionsThatAreRefused(t *testing.T) {
	good := fastpath.Options{Path: filepath.Join(t.TempDir(), "table"), Capacity: 1, Pods: 1, Services: 1}
	for name, change := range map[string]func(*fastpath.Options){
		"no path": func(o *fastpath.Options) { o.Path = "" }, "no folder": func(o *fastpath.Options) { o.Path += "/none/table" },
		"no capacity": func(o *fastpath.Options) { o.Capacity = 0 }, "no pods": func(o *fastpath.Options) { o.Pods = 0 },
		"no services": func(o *fastpath.Options) { o.Services = -1 }, "too many pods": func(o *fastpath.Options) { o.Pods = 1 << 30 },
	} {
		o := good
		change(&o)
		if table, err := fastpath.Create(o); err == nil {
			t.Errorf("%s was taken", name)
			table.Close(false)
		}
	}
	table, err := fastpath.Create(good)
	if err != nil {
		t.Fatal(err)
	}
	table.Close(false)
}
