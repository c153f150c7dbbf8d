package affinity

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

// stepsEnv sets the number of steps of TestModel, for each strategy.
const stepsEnv = "AFFINITY_STEPS"

type modelKey struct{ service, key string }

// model is the table as a plain map. It is told by the journal what the table
// evicted, and checks that it did so only when it was full.
type model struct {
	t             *testing.T
	c             *Table
	now           time.Time
	idle          map[string]time.Duration
	bound         map[modelKey]statefulroute.Binding
	capacity      int
	during        string // the operation that runs
	steps         int
	deleting      bool // it may delete what it likes
	giving        bool // it gives one session up: which, and on which pod
	gaveUp        []statefulroute.Binding
	vouched       map[modelKey]bool // an operator moved it
	evicted       int
	restored      int    // from ghosts
	ghostRestores uint64 // of them, those that got a place
	rebinds       uint64
	givenUp       int
	inUse         map[modelKey]int
	highest       map[modelKey]uint64 // epochs
	renewed       time.Time
	outlived      int            // uses of a binding that would have expired but for its requests in flight
	passedBy      int            // evictions while another was in use
	adaptive      evict.Adaptive // the strategy, if it is that
	mode          string

	shown  map[modelKey]*shownBinding // by the mirror
	mirror mirrorCounts

	// ghosts are the evicted that the table may remember, as it is bounded.
	ghosts  map[modelKey]statefulroute.Binding
	journal map[modelKey]statefulroute.Binding
}

func (m *model) Put(b statefulroute.Binding) {
	m.checkShown(modelKey{b.Service, b.Key}, b.Pod)
	m.journal[modelKey{b.Service, b.Key}] = b
}

func (m *model) Delete(service, key string) {
	k := modelKey{service, key}
	m.checkShown(k, "")
	delete(m.journal, k)
	b, known := m.bound[k]
	if m.giving {
		m.gaveUp = append(m.gaveUp, b)
	}
	if !known || m.deleting {
		return
	}
	if !m.expired(b) {
		m.evicted++
		m.ghosts[k] = b
		m.evictedLast(k)
		if len(m.bound) < m.capacity && !m.giving {
			m.t.Fatalf("%s: %v evicted from %d of %d", m.during, k, len(m.bound), m.capacity)
		}
	}
	delete(m.bound, k)
}

// evictedLast checks that what is in use goes after what is not.
func (m *model) evictedLast(k modelKey) {
	inUse := 0
	for other := range m.bound {
		if m.inUse[other] > 0 {
			inUse++
		}
	}
	if m.inUse[k] == 0 {
		m.passedBy += min(inUse, 1)
	} else if m.giving || inUse <= passBy && inUse < len(m.bound) {
		m.t.Fatalf("%s: %v evicted, which is in use as %d of %d", m.during, k, inUse, len(m.bound))
	}
}

func (m *model) expired(b statefulroute.Binding) bool {
	return m.idled(b) && m.inUse[modelKey{b.Service, b.Key}] == 0
}

func (m *model) idled(b statefulroute.Binding) bool { return m.now.Sub(b.LastSeen) > m.idle[b.Service] }

// hold begins a request, which brings nothing back that has expired.
func (m *model) hold(k modelKey) {
	expired := false
	for _, of := range []map[modelKey]statefulroute.Binding{m.bound, m.ghosts} {
		if b, ok := of[k]; ok && m.expired(b) {
			delete(of, k)
			expired = true
		}
	}
	m.c.Hold(k.service, k.key, m.now)
	m.inUse[k]++
	if _, ok := m.c.Peek(k.service, k.key, m.now); ok && expired {
		m.t.Fatalf("%s: expired, and brought back", m.during)
	}
}

// release ends a request, or one that never was.
func (m *model) release(k modelKey) {
	m.c.Release(k.service, k.key, m.now)
	switch m.inUse[k] {
	case 0:
		return
	case 1:
		delete(m.inUse, k)
		m.seen(k)
	default:
		m.inUse[k]--
	}
}

// seen renews a session.
func (m *model) seen(k modelKey) {
	for _, of := range []map[modelKey]statefulroute.Binding{m.bound, m.ghosts} {
		if b, ok := of[k]; ok {
			b.LastSeen = m.now
			of[k] = b
		}
	}
}

// renew renews what is in use and was not seen for a while.
func (m *model) renew() {
	m.c.Renew(m.now)
	if m.now.Sub(m.renewed) < min(m.idle["s0"], m.idle["s1"], defaultIdle)/renewals {
		return
	}
	m.renewed = m.now
	for k := range m.inUse {
		m.seen(k)
	}
}

// caughtUp takes over the renewals by which an eviction passed sessions in use by.
func (m *model) caughtUp() {
	for k := range m.inUse {
		if got, ok := m.c.Peek(k.service, k.key, m.now); ok && got.LastSeen.Equal(m.now) {
			b := m.bound[k]
			b.LastSeen = m.now
			m.bound[k] = b
		}
	}
}

// live is the binding that the table must know of, if any.
func (m *model) live(k modelKey) (statefulroute.Binding, bool) {
	b, ok := m.bound[k]
	return b, ok && !m.expired(b)
}

// use is live, and counts as a request.
func (m *model) use(k modelKey) (statefulroute.Binding, bool) {
	b, ok := m.live(k)
	if ok {
		if m.idled(b) {
			m.outlived++
		}
		b.Requests++
		b.LastSeen = m.now
		m.bound[k] = b
	}
	return b, ok
}

func (m *model) same(got, want statefulroute.Binding) {
	m.t.Helper()
	want.InFlight = m.inUse[modelKey{want.Service, want.Key}]
	if got != want {
		m.t.Fatalf("%s:\ngot  %+v\nwant %+v", m.during, got, want)
	}
}

func (m *model) lookup(k modelKey) {
	want, known := m.use(k)
	got, ok := m.c.Lookup(k.service, k.key, m.now)
	if ok && !known {
		_, placed := m.c.Peek(k.service, k.key, m.now)
		want, known = m.restoreGhost(k, placed)
	}
	if ok != known {
		m.t.Fatalf("%s: found %v, want %v", m.during, ok, known)
	}
	if ok {
		m.same(got, want)
		m.show(got)
	}
}

// restoreGhost is the binding of a session that was evicted, if it may have one again: in
// the table, or in a full one only remembered.
func (m *model) restoreGhost(k modelKey, placed bool) (statefulroute.Binding, bool) {
	b, ok := m.ghosts[k]
	if !ok || m.expired(b) {
		return b, false
	}
	return m.placed(k, b.Pod, "", placed), true
}

// revive is the binding that a remembered session must have now: again, or on another
// pod than previous.
func (m *model) revive(k modelKey, pod, previous string) statefulroute.Binding {
	if kept, ok := m.ghosts[k]; !ok || m.expired(kept) || previous != "" && kept.Pod != previous || previous == "" && kept.Pod != pod {
		m.t.Fatalf("%s: revived on %s after %q, want %+v, %v", m.during, pod, previous, kept, ok)
	}
	delete(m.vouched, k)
	_, placed := m.c.Peek(k.service, k.key, m.now)
	return m.placed(k, pod, previous, placed)
}

func (m *model) placed(k modelKey, pod, previous string, placed bool) statefulroute.Binding {
	m.restored++
	b := statefulroute.Binding{Service: k.service, Key: k.key, Pod: pod, PreviousPod: previous, Created: m.now, LastSeen: m.now, Requests: 2}
	if placed {
		b.Epoch = m.newEpoch(k)
		m.ghostRestores++
		delete(m.ghosts, k)
		m.bound[k] = b
	} else if m.ghosts[k] = b; len(m.bound) < m.capacity {
		m.t.Fatalf("%s: only remembered, in a table with room", m.during)
	}
	return b
}

// newEpoch is the epoch of the key's pod, which has just become that.
func (m *model) newEpoch(k modelKey) uint64 {
	b, _ := m.c.Peek(k.service, k.key, m.now)
	if b.Epoch <= m.highest[k] || b.Epoch < uint64(m.now.UnixMilli()) {
		m.t.Fatalf("%s: epoch %d at %d, after %d", m.during, b.Epoch, m.now.UnixMilli(), m.highest[k])
	}
	m.highest[k] = b.Epoch
	return b.Epoch
}

func (m *model) remembered(k modelKey) {
	pod, ok := m.c.Remembered(k.service, k.key, m.now)
	if want, known := m.ghosts[k]; ok && (!known || m.expired(want) || pod != want.Pod) {
		m.t.Fatalf("%s: remembered on %s, want %v, %+v", m.during, pod, known, want)
	}
}

func (m *model) peek(k modelKey) {
	m.remembered(k)
	got, ok := m.c.Peek(k.service, k.key, m.now)
	want, known := m.live(k)
	if ok != known {
		m.t.Fatalf("%s: found %v, want %v", m.during, ok, known)
	}
	if ok {
		m.same(got, want)
	}
}

func (m *model) claim(k modelKey, pod string) {
	want, known := m.use(k)
	kept, remembered := m.c.Remembered(k.service, k.key, m.now)
	got, won, err := m.c.Claim(k.service, k.key, pod, m.now)
	if !known && remembered {
		want = m.revive(k, kept, "")
		if err != nil || won {
			m.t.Fatalf("%s: won %v, %v, remembered on %s", m.during, won, err, kept)
		}
		m.same(got, want)
		return
	}
	if errors.Is(err, statefulroute.ErrFull) && !known && len(m.bound) >= m.capacity {
		return
	}
	if err != nil || won == known {
		m.t.Fatalf("%s: won %v, bound before %v, %v", m.during, won, known, err)
	}
	if !known {
		want = statefulroute.Binding{Service: k.service, Key: k.key, Pod: pod, Epoch: m.newEpoch(k), Created: m.now, LastSeen: m.now, Requests: 1}
		m.bound[k] = want
		delete(m.ghosts, k)
		delete(m.vouched, k)
	}
	m.same(got, want)
}

func (m *model) rebind(k modelKey, from, to string) {
	want, known := m.live(k)
	kept, remembered := m.c.Remembered(k.service, k.key, m.now)
	old := statefulroute.Binding{Service: k.service, Key: k.key, Pod: from, Epoch: want.Epoch}
	if !known {
		old.Epoch = m.highest[k] // of a binding that may be remembered
	}
	stale := known && m.steps%4 == 0
	if stale {
		old.Epoch-- // of one that was replaced meanwhile
	}
	got, won, err := m.c.Rebind(old, to, m.now)
	if !known && remembered {
		if err != nil || won != (kept == from) {
			m.t.Fatalf("%s: won %v from %s, remembered on %s, %v", m.during, won, from, kept, err)
		}
		previous := ""
		if won && from != to {
			kept, previous = to, from
		}
		if won {
			m.rebinds++
		}
		m.same(got, m.revive(k, kept, previous))
		return
	}
	if won {
		m.rebinds++
	}
	if !known {
		if !errors.Is(err, statefulroute.ErrGone) {
			m.t.Fatalf("%s: %v", m.during, err)
		}
		return
	}
	if err != nil || won != (want.Pod == from && !stale) {
		m.t.Fatalf("%s: won %v from %s, was on %s, %v", m.during, won, from, want.Pod, err)
	}
	if won && from != to {
		want.Pod, want.PreviousPod, want.Epoch = to, from, m.newEpoch(k)
		m.bound[k] = want
	}
	m.same(got, want)
}

func (m *model) move(k modelKey, to string) {
	want, known := m.live(k)
	kept, remembered := m.c.Remembered(k.service, k.key, m.now)
	got, err := m.c.Move(k.service, k.key, to, m.now)
	if !known && remembered && err == nil {
		if kept == to {
			kept = ""
		}
		m.same(got, m.revive(k, to, kept))
		return
	}
	if errors.Is(err, statefulroute.ErrFull) && !known && len(m.bound) >= m.capacity {
		return
	}
	if err != nil {
		m.t.Fatalf("%s: %v", m.during, err)
	}
	m.vouched[k] = true
	if !known {
		want = statefulroute.Binding{Service: k.service, Key: k.key, Pod: to, Epoch: m.newEpoch(k), Created: m.now, LastSeen: m.now}
	} else if want.Pod != to {
		want.Pod, want.PreviousPod, want.Epoch = to, want.Pod, m.newEpoch(k)
	}
	m.bound[k] = want
	delete(m.ghosts, k)
	m.same(got, want)
}

// remove deletes what matches from the model and checks how much that was.
func (m *model) remove(got int, match func(modelKey, statefulroute.Binding) bool) {
	want := 0
	for k, b := range m.bound {
		if match(k, b) {
			delete(m.bound, k)
			want++
		}
	}
	if got != want {
		m.t.Fatalf("%s: removed %d, want %d", m.during, got, want)
	}
}

func (m *model) step(rnd *rand.Rand) {
	k := modelKey{fmt.Sprintf("s%d", rnd.IntN(2)), strconv.Itoa(int(rnd.ExpFloat64() * float64(m.capacity)))}
	if k.key[0] == '1' {
		k.key += strings.Repeat("-long", 20) // more than an entry has room for
	}
	pod, other := fmt.Sprintf("p%d", rnd.IntN(4)), fmt.Sprintf("p%d", rnd.IntN(4))
	op := rnd.IntN(1000)
	m.steps++
	m.during = fmt.Sprintf("operation %d on %v, %s, %s", op, k, pod, other)
	m.deleting = op >= 900 && op != 999
	m.requests(rnd, k)
	m.useMirror(m.mirror.rnd)
	defer m.caughtUp()
	defer m.checkMirror()
	switch {
	case op < 350:
		m.lookup(k)
	case op < 700:
		m.claim(k, pod)
	case op < 800:
		m.rebind(k, pod, other)
	case op < 850:
		m.move(k, pod)
	case op < 900:
		m.peek(k)
	case op < 970:
		_, known := m.bound[k]
		_, maybe := m.ghosts[k]
		delete(m.bound, k)
		delete(m.ghosts, k)
		if got := m.c.Delete(k.service, k.key); got != known && (!got || !maybe) {
			m.t.Fatalf("%s: %v, known %v", m.during, got, known)
		}
	case op < 985:
		m.now = m.now.Add(time.Duration(rnd.Int64N(int64(400*time.Second) / int64(m.capacity))))
	case op < 994:
		m.remove(m.c.Expire(m.now), func(_ modelKey, b statefulroute.Binding) bool { return m.expired(b) })
	case op == 995 && rnd.IntN(m.capacity) < 10:
		m.remove(m.c.DropPod(k.service, pod), func(mk modelKey, b statefulroute.Binding) bool {
			return mk.service == k.service && b.Pod == pod
		})
		maps.DeleteFunc(m.ghosts, func(mk modelKey, b statefulroute.Binding) bool {
			return mk.service == k.service && b.Pod == pod
		})
	case op == 996 && rnd.IntN(m.capacity) < 2:
		m.remove(m.c.Flush(k.service), func(mk modelKey, _ statefulroute.Binding) bool { return mk.service == k.service })
		maps.DeleteFunc(m.ghosts, func(mk modelKey, _ statefulroute.Binding) bool { return mk.service == k.service })
	case op == 997:
		d := time.Duration(1+rnd.IntN(60)) * time.Second
		m.idle[k.service] = d
		m.c.SetIdleTimeout(k.service, d)
	case op == 998:
		m.compare(rnd)
	case op == 999:
		m.restore(k, pod, other)
	case op == 994:
		m.switchMode()
	}
	if op >= 890 && op < 900 {
		m.giveUp(k.service, pod)
	}
	checkIdentity(m.t, m.c)
}

// requests begins and ends some, so that a few sessions are in use, and fewer in a table
// with one place.
func (m *model) requests(rnd *rand.Rand, k modelKey) {
	switch n := rnd.IntN(2000); {
	case n < 100:
		m.hold(k)
	case n < 120:
		m.release(k) // mostly of none
	case n < 121:
		m.renew()
	case n < 121+max(10, 200/m.capacity)*len(m.inUse):
		m.release(slices.SortedFunc(maps.Keys(m.inUse), func(a, b modelKey) int {
			return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.key, b.key))
		})[rnd.IntN(len(m.inUse))])
	}
}

// restore puts back a binding as a store would have kept it: younger or older than
// what is there, of the same epoch or a higher one, or expired.
func (m *model) restore(k modelKey, pod, previous string) {
	kept := statefulroute.Binding{
		Service: k.service, Key: k.key, Pod: pod, PreviousPod: previous,
		Created: m.now.Add(-time.Minute), LastSeen: m.now.Add(-m.idle[k.service] / 2), Requests: 7,
	}
	was, known := m.live(k)
	kept.Epoch = m.highest[k] + uint64(len(m.bound)%2)
	if !known {
		kept.Epoch++
		was = statefulroute.Binding{} // one that has expired
	}
	newer := kept.Epoch > m.highest[k]
	m.highest[k] = kept.Epoch
	before := m.c.Stats()
	n := m.c.Restore([]statefulroute.Binding{kept}, m.now)
	if after := m.c.Stats(); n != after.Size-before.Size || known && n != 0 {
		m.t.Fatalf("%s: %d restored, %d bindings before and %d after, known %v", m.during, n, before.Size, after.Size, known)
	}
	got, ok := m.c.Peek(k.service, k.key, m.now)
	switch {
	case known && !newer:
		m.same(got, was)
	case !ok:
		if len(m.bound) < m.capacity {
			m.t.Fatalf("%s: not restored with room for it", m.during)
		}
	default:
		// It counts as seen a little later than the journal knows.
		if late := got.LastSeen.Sub(kept.LastSeen); (late < 0 || late > m.idle[k.service]/8) && !got.LastSeen.Equal(was.LastSeen) {
			m.t.Fatalf("%s: seen %s later than was kept", m.during, late)
		}
		kept.LastSeen, kept.Requests = got.LastSeen, max(kept.Requests, was.Requests)
		m.same(got, kept)
		m.bound[k] = kept
		delete(m.ghosts, k)
		m.journal[k] = kept // a store goes on keeping what it gave
	}
}

// giveUp has the table evict a session of the pod that was used once, as long as there
// is one.
func (m *model) giveUp(service, pod string) {
	may := map[modelKey]bool{}
	for k, b := range m.bound {
		if k.service == service && b.Pod == pod && b.Requests == 1 && !m.vouched[k] && m.inUse[k] == 0 {
			may[k] = true
		}
	}
	m.gaveUp, m.giving = nil, true
	ok := m.c.GiveUp(service, pod, m.now)
	m.giving = false
	if ok != (len(may) > 0) || ok != (len(m.gaveUp) == 1) {
		m.t.Fatalf("%s: gave up %v, %+v of %v", m.during, ok, m.gaveUp, may)
	}
	if ok && !may[modelKey{m.gaveUp[0].Service, m.gaveUp[0].Key}] {
		m.t.Fatalf("%s: gave up %+v", m.during, m.gaveUp)
	}
	if ok {
		m.givenUp++
	}
}

// switchMode has adaptive reclaim the other way from now on.
func (m *model) switchMode() {
	if m.adaptive == nil {
		return
	}
	m.mode = map[string]string{evict.ModeRecency: evict.ModeExpiry, evict.ModeExpiry: evict.ModeRecency}[m.mode]
	setMode(m.t, m.adaptive, m.mode)
}

// compare checks everything that can be asked of the table as a whole.
func (m *model) compare(rnd *rand.Rand) {
	m.catchUp()
	st := checkIdentity(m.t, m.c)
	if st.InUse != len(m.inUse) {
		m.t.Fatalf("%d in use, want %d", st.InUse, len(m.inUse))
	}
	if st.Size != len(m.bound) || st.Size > m.capacity || len(m.journal) != len(m.bound) {
		m.t.Fatalf("size %d of %d, model %d, journal %d", st.Size, m.capacity, len(m.bound), len(m.journal))
	}
	for k, b := range m.bound {
		j := m.journal[k]
		if late := b.LastSeen.Sub(j.LastSeen); late < 0 || j.Pod != b.Pod || j.Epoch != b.Epoch || j.PreviousPod != b.PreviousPod {
			m.t.Fatalf("the journal says %+v of %+v", j, b)
		}
	}
	counts := map[string]int{}
	for k, b := range m.bound {
		if k.service == "s0" {
			counts[b.Pod]++
		}
	}
	once := map[string]int64{}
	for k, b := range m.bound {
		if k.service == "s0" && b.Requests == 1 && !m.vouched[k] {
			once[b.Pod]++
		}
	}
	if n := m.c.services.getOrAdd("s0").totals.once.Load(); n != once["p0"]+once["p1"]+once["p2"]+once["p3"] {
		m.t.Fatalf("%d sessions used once, want %v", n, once)
	}
	for i := range 4 {
		pod := fmt.Sprintf("p%d", i)
		if p := m.c.services.getOrAdd("s0").pod(pod); p != nil && p.once.Load() != once[pod] {
			m.t.Fatalf("%s has %d sessions used once, want %d", pod, p.once.Load(), once[pod])
		}
		if got := m.c.PodSessions("s0", pod); got != counts[pod] || m.c.PodSessionCounts("s0")[pod] != got {
			m.t.Fatalf("%s has %d sessions, want %d", pod, got, counts[pod])
		}
	}
	m.list("", "", 1+rnd.IntN(m.capacity))
	m.list("s1", "", 1+rnd.IntN(m.capacity))
	m.list("s0", fmt.Sprintf("p%d", rnd.IntN(4)), 1+rnd.IntN(m.capacity))
}

func (m *model) list(service, pod string, limit int) {
	seen, next := 0, ""
	for first := true; first || next != ""; first = false {
		var page []statefulroute.Binding
		if page, next = m.c.List(service, pod, limit, next); len(page) > limit || (len(page) < limit && next != "") {
			m.t.Fatalf("a page of %d, limit %d, next %q", len(page), limit, next)
		}
		for _, b := range page {
			seen++
			m.same(b, m.bound[modelKey{b.Service, b.Key}])
		}
	}
	want := 0
	for k, b := range m.bound {
		if (service == "" || k.service == service) && (pod == "" || b.Pod == pod) {
			want++
		}
	}
	if seen != want {
		m.t.Fatalf("listed %d of %d of %q, %q", seen, want, service, pod)
	}
}

const defaultIdle = 30 * time.Second

// TestModel plays random operations to the table and to a plain map.
func TestModel(t *testing.T) {
	steps := 25_000
	if s := os.Getenv(stepsEnv); s != "" {
		var err error
		if steps, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, strategy := range evict.NewRegistry().Names() {
		for _, capacity := range []int{1, 40, 500} {
			t.Run(fmt.Sprintf("%s/%d", strategy, capacity), func(t *testing.T) {
				t.Parallel()
				m := &model{
					t: t, now: t0, capacity: capacity,
					idle:    map[string]time.Duration{"s0": defaultIdle, "s1": defaultIdle},
					bound:   map[modelKey]statefulroute.Binding{},
					journal: map[modelKey]statefulroute.Binding{},
					ghosts:  map[modelKey]statefulroute.Binding{},
					vouched: map[modelKey]bool{},
					inUse:   map[modelKey]int{},
					highest: map[modelKey]uint64{},
					shown:   map[modelKey]*shownBinding{},
				}
				// One shard, so that full means full.
				registry, name := evict.NewRegistry(), strategy
				if strategy == "adaptive" {
					registry, m.adaptive = newAdaptive(t)
					m.mode, name = evict.ModeRecency, "adaptive under test"
				}
				m.c = newTable(t, Options{Registry: registry, Strategy: name, Capacity: capacity, Shards: 1, DefaultExpiration: defaultIdle, Journal: m, Mirror: mirrorOf{m}})
				rnd := rand.New(rand.NewPCG(7, uint64(capacity)))
				m.mirror.rnd = rand.New(rand.NewPCG(8, uint64(capacity)))
				for range steps {
					m.step(rnd)
				}
				m.compare(rnd)
				for k := range m.inUse {
					for m.inUse[k] > 0 {
						m.release(k)
					}
				}
				m.compare(rnd)
				if m.givenUp == 0 || m.evicted == 0 || m.restored == 0 || m.outlived == 0 || m.passedBy == 0 && capacity > 1 {
					t.Errorf("%d evicted, %d of them beside one in use, %d restored from ghosts, %d given up, %d outlived their idle timeout: the test proves little",
						m.evicted, m.passedBy, m.restored, m.givenUp, m.outlived)
				}
				m.mirror.check(t, capacity)
				if st := m.c.Stats(); st.GhostRestores != m.ghostRestores || st.Rebinds != m.rebinds {
					t.Errorf("%d restores from ghosts and %d rebinds counted, want %d and %d", st.GhostRestores, st.Rebinds, m.ghostRestores, m.rebinds)
				}
			})
		}
	}
}
