package fastpath_test

import (
	"cmp"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/fastpathtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is CLOCK_MONOTONIC as a test has it.
type clock struct{ at time.Duration }

func (c *clock) now() time.Duration { return c.at }

func chat() statefulroute.Service {
	return statefulroute.Service{Name: "chat", Session: statefulroute.SessionPolicy{
		Key:      []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "X-Session-ID"}},
		FastPath: true,
	}}
}

var addresses = map[string]netip.AddrPort{
	"chat-0": netip.MustParseAddrPort("10.0.0.1:8080"), "chat-1": netip.MustParseAddrPort("[fd00::1]:8080"), "chat-2": netip.MustParseAddrPort("10.0.0.3:8080"),
}

// create makes a table of chat and its pods, which is closed when the test ends.
func create(t testing.TB, o fastpath.Options) *fastpath.Table {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "table")
	}
	o.Capacity, o.Pods, o.Services = cmp.Or(o.Capacity, 1000), cmp.Or(o.Pods, 8), cmp.Or(o.Services, 4)
	table, err := fastpath.Create(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(false); err != nil {
			t.Error(err)
		}
	})
	if err := table.SetService(chat()); err != nil {
		t.Fatal(err)
	}
	for pod, address := range addresses {
		if err := table.SetPod("chat", pod, address, true); err != nil {
			t.Fatal(err)
		}
	}
	return table
}

// open reads the table at a path as another process would.
func open(t testing.TB, path string, now func() time.Duration) *fastpathtest.Reader {
	t.Helper()
	r, err := fastpathtest.Open(path, uint32(os.Getpid()), now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func activate(t testing.TB, table *fastpath.Table) {
	t.Helper()
	if err := table.Activate(); err != nil {
		t.Fatal(err)
	}
}

// A session is answered for from its publication to its withdrawal, by the pod it is bound
// to, where that is now.
func TestASessionIsFoundWhileItIsPublished(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "table"), &clock{at: time.Hour}
	table := create(t, fastpath.Options{Path: path, Now: c.now})
	activate(t, table)
	r := open(t, path, c.now)
	want := func(result, pod, address string) {
		t.Helper()
		if a := r.Lookup("chat", "s"); a.Result != result || a.Pod != pod || a.Address != address {
			t.Errorf("%s: %q at %q, want %s: %q at %q", a.Result, a.Pod, a.Address, result, pod, address)
		}
	}
	want("unknown", "", "")
	if !table.Publish("chat", "s", "chat-1", 0, 0) || table.Bindings() != 1 {
		t.Errorf("not published, %d bindings", table.Bindings())
	}
	want("hit", "chat-1", "[fd00::1]:8080")
	table.Publish("chat", "s", "chat-0", 0, 0)
	want("hit", "chat-0", "10.0.0.1:8080")
	if err := table.SetPod("chat", "chat-0", netip.MustParseAddrPort("10.0.0.9:80"), true); err != nil {
		t.Error(err)
	}
	want("hit", "chat-0", "10.0.0.9:80")
	if err := table.SetPod("chat", "chat-0", addresses["chat-0"], false); err != nil {
		t.Error(err)
	}
	want("pod", "", "")
	if err := table.SetPod("chat", "chat-0", addresses["chat-0"], true); err != nil {
		t.Error(err)
	}
	table.RemoveService("chat")
	want("policy", "", "")
	table.Withdraw("chat", "s")
	if err := table.SetService(chat()); err != nil {
		t.Error(err)
	}
	want("unknown", "", "")
	if table.Bindings() != 0 {
		t.Errorf("%d bindings", table.Bindings())
	}
}

// What readers cannot be told is refused.
func TestWhatIsNotPublished(t *testing.T) {
	table := create(t, fastpath.Options{})
	table.RemovePod("chat", "chat-2")
	for _, c := range []struct {
		service, key, pod string
		age               time.Duration
	}{
		{"other", "s", "chat-0", 0}, {"chat", "s", "chat-9", 0}, {"chat", "s", "chat-2", 0}, {"chat", "", "chat-0", 0},
		{"chat", string(make([]byte, 257)), "chat-0", 0}, {"chat", "s", "chat-0", 3 * time.Hour},
	} {
		if table.Publish(c.service, c.key, c.pod, c.age, 0) {
			t.Errorf("%+v was published", c)
		}
	}
}
