package fastpath_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath"
)

const benchSessions = 1_000_000

// filled is a table with as many sessions published as it has capacity for; refused found no
// place.
func filled(t testing.TB, path string) (table *fastpath.Table, keys []string, refused int) {
	table = create(t, fastpath.Options{Path: path, Capacity: benchSessions})
	for i := range benchSessions {
		keys = append(keys, "session-"+strconv.Itoa(i))
		if !table.Publish("chat", keys[i], "chat-0", 0, 0) {
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
		table.Publish("chat", key, "chat-1", 0, 0)
	})
}

// One part in 1,024 of a table of a million sessions of which none was used.
func BenchmarkRecent(b *testing.B) {
	clock := &clock{at: time.Hour}
	table := create(b, fastpath.Options{Path: inMemory(b), Capacity: benchSessions, Now: clock.now})
	for i := range benchSessions {
		table.Publish("chat", "session-"+strconv.Itoa(i), "chat-0", 0, uint64(i))
	}
	clock.at += time.Hour
	b.ResetTimer()
	before := cpuTime(b)
	var ids []uint64
	for i := 0; b.Loop(); i++ {
		if ids = table.Recent(ids[:0], i%1024, 1024, 0); len(ids) > 0 {
			b.Fatal(len(ids))
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

func BenchmarkPublishAgain(b *testing.B) {
	benchmark(b, func(table *fastpath.Table, key string) { table.Publish("chat", key, "chat-0", 0, 0) })
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

// BenchmarkHarvest is what is done each second, with the table's lock, where nothing was counted.
func BenchmarkHarvest(b *testing.B) {
	const pods = 10_000
	table := create(b, fastpath.Options{Path: inMemory(b), Pods: pods + 3})
	for i := range pods {
		if err := table.SetPod("chat", "other-"+strconv.Itoa(i), addresses["chat-0"], true); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		table.Harvest(func(string, string, *fastpath.PodUse) {})
	}
}

// The file has the size that its parts need.
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

// What a file takes is what has been allocated of it: pods take their room when they come.
func TestPodsTakeTheirRoomWhenTheyCome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	table := create(t, fastpath.Options{Path: path, Capacity: benchSessions, Pods: 16_384, Services: 1024})
	activate(t, table)
	taken := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	empty := taken()
	if empty > 28<<20 {
		t.Errorf("%d bytes without a pod", empty)
	}
	const services, each = 1000, 10
	for s := range services {
		name := fmt.Sprint("service-", s)
		if err := table.SetService(statefulroute.Service{Name: name}); err != nil {
			t.Fatal(err)
		}
		for p := range each {
			if err := table.SetPod(name, fmt.Sprint("pod-", p), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(s >> 8), byte(s)}), uint16(p+1)), true); err != nil {
				t.Fatal(err)
			}
		}
	}
	if all, want := taken()-empty, int64(services*(each+1)*4096); all < want || all > want+want/16 {
		t.Errorf("%d services and %d pods take %d bytes, want %d", services, services*each, all, want)
	}
	t.Logf("%d bytes, and %d with %d pods of %d services", empty, taken(), services*each, services)
}
