package fastpath_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stateful-route/stateful-route/fastpath"
)

const benchSessions = 1_000_000

// filled is a table with as many sessions published as it has capacity for; refused found no
// place.
func filled(t testing.TB, path string) (table *fastpath.Table, keys []string, refused int) {
	table = create(t, fastpath.Options{Path: path, Capacity: benchSessions})
	for i := range benchSessions {
		keys = append(keys, "session-"+strconv.Itoa(i))
		if !table.Publish("chat", keys[i], "chat-0", 0) {
			refused++
		}
	}
	return table, keys, refused
}

// At capacity, next to all sessions have a place, of at most 24 bytes each.
func TestAFullTable(t *testing.T) {
	table, keys, refused := filled(t, "")
	if n := table.Bindings(); n != len(keys)-refused {
		t.Errorf("%d bindings, %d published", n, len(keys)-refused)
	}
	t.Logf("%d of %d sessions found no place", refused, len(keys))
	if refused > len(keys)/1000 {
		t.Errorf("%d of %d sessions found no place", refused, len(keys))
	}
}

// inMemory is a path in memory where there is such a folder: elsewhere, writing to a file costs more.
func inMemory(b *testing.B) string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		b.Setenv("TMPDIR", "/dev/shm")
	}
	return filepath.Join(b.TempDir(), "table")
}

func benchmark(b *testing.B, do func(table *fastpath.Table, key string)) {
	table, keys, _ := filled(b, inMemory(b))
	b.ResetTimer()
	before := cpuTime(b)
	for i := 0; b.Loop(); i++ {
		do(table, keys[i*7919%len(keys)])
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used: a busy machine does not add to it.
func cpuTime(b *testing.B) time.Duration {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func BenchmarkPublishAnew(b *testing.B) {
	benchmark(b, func(table *fastpath.Table, key string) {
		table.Withdraw("chat", key)
		table.Publish("chat", key, "chat-1", 0)
	})
}

func BenchmarkPublishAgain(b *testing.B) {
	benchmark(b, func(table *fastpath.Table, key string) { table.Publish("chat", key, "chat-0", 0) })
}

func BenchmarkTakeUse(b *testing.B) {
	benchmark(b, func(table *fastpath.Table, key string) { table.TakeUse("chat", key) })
}

func BenchmarkLookupInGo(b *testing.B) {
	path := inMemory(b)
	table, keys, _ := filled(b, path)
	activate(b, table)
	r := open(b, path, fastpath.Monotonic)
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		r.Lookup("chat", keys[i*7919%len(keys)])
	}
}

func BenchmarkHarvest(b *testing.B) {
	table := create(b, fastpath.Options{Path: inMemory(b), Pods: 1000})
	for i := range 997 {
		if err := table.SetPod("chat", "other-"+strconv.Itoa(i), addresses["chat-0"], true); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		table.Harvest(func(string, string, *fastpath.PodUse) {})
	}
}

// The file has the size that its parts need, and no holes.
func TestTheFileIsAllThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	activate(t, create(t, fastpath.Options{Path: path, Capacity: benchSessions, Pods: 1000, Services: 100}))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if size := info.Size(); size > 30<<20 || info.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes, mode %v", size, info.Mode())
	}
}
