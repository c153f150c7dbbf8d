// Package scale tests what a large fleet costs: 100 services of 100 pods and a million
// sessions. What runs every second or with every request must be linear in what changed
// or bounded, and each bound is stated in design/. The tests compare work and memory;
// times are for the benchmarks.
//
// The fleet is built once, and each part of the project has a test of its own that takes
// it as it is.
package scale

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/wire"
)

const (
	services       = 100
	podsPerService = 100
)

// sessions is how many there are in the fleet; the race detector makes each ten times
// as dear.
func sessions() int {
	if raceEnabled {
		return 100_000
	}
	return 1_000_000
}

var t0 = time.Unix(1_800_000_000, 0)

// fleet is what all tests share. They may change it as long as they leave it as it was.
type fleet struct {
	states    []wire.ServiceState
	table     *affinity.Table
	directory *extproc.Directory
	heap      uint64 // of table
}

func serviceName(i int) string { return fmt.Sprintf("service-%03d", i) }
func podName(i, j int) string  { return fmt.Sprintf("service-%03d-%03d", i, j) }

// states are the services and pods of the fleet.
func states(perService int) []wire.ServiceState {
	out := make([]wire.ServiceState, services)
	for i := range out {
		out[i].Service = statefulroute.Service{
			Name: serviceName(i),
			Session: statefulroute.SessionPolicy{
				Key:       []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "x-session-id"}},
				OnPodLoss: statefulroute.Rebind, OnExtprocLoss: statefulroute.Allow,
			},
			Balancing: statefulroute.BalancingPolicy{Strategy: "least_response_time"},
		}
		for j := range perService {
			out[i].Pods = append(out[i].Pods, statefulroute.Pod{
				Name: podName(i, j), Weight: 1,
				Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(j), 1}), 8080),
			})
		}
	}
	return out
}

func newDirectory(t testing.TB, s []wire.ServiceState) *extproc.Directory {
	t.Helper()
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := extproc.NewDirectory(extproc.DirectoryOptions{Monitor: monitor})
	if err != nil {
		t.Fatal(err)
	}
	d.Set(s, true)
	return d
}

func newTable(t testing.TB) *affinity.Table {
	t.Helper()
	table, err := affinity.New(affinity.Options{Capacity: sessions()})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

var (
	built sync.Once
	whole fleet
)

// theFleet builds the fleet on the first call: every tenth session is used once, the
// others twice.
func theFleet(t testing.TB) *fleet {
	t.Helper()
	built.Do(func() {
		whole.states = states(podsPerService)
		whole.directory = newDirectory(t, whole.states)
		before := heap()
		whole.table = newTable(t)
		for i := range sessions() {
			service, key := serviceName(i%services), fmt.Sprint("session-", i)
			if _, _, err := whole.table.Claim(service, key, podName(i%services, i/services%podsPerService), t0); err != nil {
				t.Fatal(err)
			}
			if i%10 != 0 {
				whole.table.Lookup(service, key, t0)
			}
		}
		whole.heap = heap() - before
	})
	if whole.table == nil {
		t.Skip("the fleet could not be built")
	}
	return &whole
}

// heap is what is in use after collections that no more find anything.
func heap() uint64 {
	var m runtime.MemStats
	for last := uint64(0); ; last = m.HeapAlloc {
		runtime.GC()
		if runtime.ReadMemStats(&m); last != 0 && m.HeapAlloc >= last-last/1000 {
			return m.HeapAlloc
		}
	}
}

// allocated is the bytes that one run of f takes, after a first one.
func allocated(f func()) uint64 {
	f()
	const runs = 3
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / runs
}

// atMost checks an amount of bytes against its bound.
func atMost(t *testing.T, what string, got, most uint64) {
	t.Helper()
	t.Logf("%s: %d B, at most %d", what, got, most)
	if got > most && !raceEnabled {
		t.Errorf("%s takes %d B, want at most %d", what, got, most)
	}
}

// Every second the sessions of each pod are counted, in next to no memory.
func TestCountingSessions(t *testing.T) {
	f := theFleet(t)
	sum := 0
	for i := range services {
		for j := range podsPerService {
			sum += f.table.PodSessions(serviceName(i), podName(i, j))
		}
	}
	if sum != sessions() {
		t.Errorf("%d sessions, want %d", sum, sessions())
	}
	atMost(t, "counting", allocated(func() { f.directory.CountSessions(f.table, f.table) }), 128<<10)
}

// That takes as much time as there are pods, whatever sessions there are.
func BenchmarkCountingSessions(b *testing.B) {
	f := theFleet(b)
	for name, table := range map[string]*affinity.Table{"sessions=1000000": f.table, "sessions=0": newTable(b)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f.directory.CountSessions(table, table)
			}
		})
	}
	f.directory.CountSessions(f.table, f.table)
}

// A page of sessions takes the memory of a page, with every filter.
func TestListingSessions(t *testing.T) {
	limit := 50 * sessions() / 1_000_000 // half of what a pod has
	f := theFleet(t)
	for _, filter := range [][2]string{{}, {serviceName(7), ""}, {serviceName(7), podName(7, 3)}, {"", podName(7, 3)}} {
		atMost(t, fmt.Sprintf("a page of %q", filter), allocated(func() {
			if page, next := f.table.List(filter[0], filter[1], limit, ""); len(page) != limit || next == "" {
				t.Fatalf("%q: a page of %d, next %q", filter, len(page), next)
			}
		}), 128<<10)
	}
}

// The sweep of expired sessions looks at all of them, and remembers nothing.
func TestSweeping(t *testing.T) {
	f := theFleet(t)
	atMost(t, "a sweep", allocated(func() {
		if n := f.table.Expire(t0.Add(time.Minute)); n != 0 {
			t.Fatalf("%d sessions expired", n)
		}
	}), 64<<10)
}

// A session takes its entry, its part of the index, and its place in the group of its
// pod: there are nearly as many groups as sessions here, as each shard has its own.
func TestMemoryOfTheTable(t *testing.T) {
	f := theFleet(t)
	atMost(t, "a session in the table", f.heap/uint64(sessions()), 280)
}

// A request of a session that is bound takes nothing; the first one of a session, at a
// pod that may have no more, gives up one that was used once and looks at few others.
func TestRequests(t *testing.T) {
	f := theFleet(t)
	key := fmt.Sprint("session-", services+1)
	service := serviceName(1)
	if n := testing.AllocsPerRun(100, func() { f.table.Lookup(service, key, t0) }); n != 0 {
		t.Errorf("a look-up takes %v allocations", n)
	}
	// The first eviction in a shard takes the memory for its ghost entries.
	for i := range podsPerService * podsPerService {
		f.table.GiveUp(serviceName(10), podName(10, i%podsPerService), t0)
	}
	gave := 0
	atMost(t, "giving up a session", allocated(func() {
		if f.table.GiveUp(serviceName(0), podName(0, 5), t0) { // every session of service 0 was used once
			gave++
		}
	}), 256)
	if gave != 4 {
		t.Errorf("%d sessions given up, want 4", gave)
	}
}

// Refusing a request takes the same for 10,000 pods as for ten.
func TestRefusing(t *testing.T) {
	const pods = services * podsPerService
	b, err := balancing.New(balancing.Options{Strategy: "least_response_time", MaxSessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]statefulroute.Pod, pods)
	for i := range all {
		all[i] = statefulroute.Pod{Name: podName(i/podsPerService, i%podsPerService), Weight: 1}
	}
	b.SetPods(t0, all)
	for _, p := range all {
		b.SetSessions(p.Name, 1)
	}
	atMost(t, "a refusal", allocated(func() {
		if _, err := b.Pick(t0, "k"); err == nil {
			t.Fatal("picked")
		}
		if _, ok := b.PickEvicting(t0, "k", func(string) bool { return false }); ok {
			t.Fatal("picked instead")
		}
	}), 4<<10)
}
