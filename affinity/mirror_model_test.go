package affinity

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// shownBinding is what a mirror that is a plain map shows.
type shownBinding struct {
	pod  string
	uses uint32
	seen time.Time
	id   uint64
}

// mirrorCounts say how much a run of the model proves of the mirror.
type mirrorCounts struct {
	shown, uses, withdrawn, secondChances, refused int

	rnd *rand.Rand // of what is done by way of the mirror
}

func (c mirrorCounts) check(t *testing.T, capacity int) {
	t.Helper()
	if c.shown == 0 || c.uses == 0 || c.withdrawn == 0 || c.refused == 0 || c.secondChances == 0 && capacity > 1 {
		t.Errorf("%d shown, %d uses, %d withdrawn, %d refused, %d second chances by way of the mirror: the test proves little",
			c.shown, c.uses, c.withdrawn, c.refused, c.secondChances)
	}
}

// mirrorOf is the Mirror of a model's table.
type mirrorOf struct{ *model }

func (m mirrorOf) Show(service, key, pod string, age time.Duration, id uint64) bool {
	k := modelKey{service, key}
	// A move is shown before it returns, but not before the journal knows.
	if b, ok := m.bound[k]; !ok || m.journal[k].Pod != pod || age != m.now.Sub(b.LastSeen) {
		m.t.Fatalf("%s: %v on %s is shown, used %s ago; bound is %+v, the journal has %+v", m.during, k, pod, age, b, m.journal[k])
	}
	if m.mirror.shown++; m.mirror.shown%8 == 0 {
		m.mirror.refused++
		return false
	}
	if old := m.shown[k]; old != nil && old.uses > 0 {
		m.t.Fatalf("%s: %v is shown anew, and %d uses are lost", m.during, k, old.uses)
	}
	m.shown[k] = &shownBinding{pod: pod, seen: m.now.Add(-age), id: id}
	return true
}

func (m mirrorOf) Withdraw(service, key string) {
	k := modelKey{service, key}
	if s := m.shown[k]; s != nil && s.uses > 0 && !m.deleting {
		m.t.Fatalf("%s: %v is withdrawn, and %d uses are lost", m.during, k, s.uses)
	}
	delete(m.shown, k)
	m.mirror.withdrawn++
}

func (m mirrorOf) Used(service, key string) (n uint32, age time.Duration, ok bool) {
	s := m.shown[modelKey{service, key}]
	if s == nil {
		return 0, 0, false
	}
	n, s.uses = s.uses, 0
	if b := m.journal[modelKey{service, key}]; n > 0 && m.now.Sub(b.LastSeen) > m.idle[service] {
		m.mirror.secondChances++
	}
	return n, m.now.Sub(s.seen), true
}

// Recent has all in one part: what was neither used nor seen is left out.
func (m mirrorOf) Recent(to []uint64, part, _ int, within time.Duration) []uint64 {
	if part > 0 {
		return to
	}
	from := len(to)
	for _, s := range m.shown {
		if s.uses > 0 || m.now.Sub(s.seen) <= within {
			to = append(to, s.id)
		}
	}
	slices.Sort(to[from:])
	return to
}

// show has the table show what a look-up has returned, or something that is not in force.
func (m *model) show(b statefulroute.Binding) {
	k := modelKey{b.Service, b.Key}
	_, before := m.shown[k]
	wrong := b
	switch m.steps % 3 {
	case 0:
		return
	case 1:
		wrong.Epoch++
	case 2:
		wrong.Pod += "-other"
	}
	if m.c.Show(wrong, m.now) {
		m.t.Fatalf("%s: %+v is shown", m.during, wrong)
	}
	if shown := m.c.Show(b, m.now); shown != (m.shown[k] != nil) || before && !shown && m.mirror.shown%8 != 0 {
		m.t.Fatalf("%s: shown %v, the mirror has %+v", m.during, shown, m.shown[k])
	}
}

// checkShown is called when the journal hears that a key is bound to a pod, or to none.
func (m *model) checkShown(k modelKey, pod string) {
	if s := m.shown[k]; s != nil && s.pod != pod {
		m.t.Fatalf("%s: %v was bound to %q while the mirror showed %s", m.during, k, pod, s.pod)
	}
}

// useMirror uses a session without the table, or renews one.
func (m *model) useMirror(rnd *rand.Rand) {
	if len(m.shown) == 0 || rnd.IntN(16) > 0 {
		return
	}
	keys := slices.SortedFunc(maps.Keys(m.shown), func(a, b modelKey) int {
		return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.key, b.key))
	})
	for range 1 + len(keys)/8 {
		m.useShown(rnd, keys[rnd.IntN(len(keys))])
	}
}

func (m *model) useShown(rnd *rand.Rand, k modelKey) {
	b, s := m.bound[k], m.shown[k]
	if m.now.Sub(s.seen) > m.idle[k.service] || m.idled(b) {
		return // by which a reader of the mirror asks the table
	}
	used := rnd.IntN(4) > 0
	if !used && m.now.Sub(b.LastSeen) <= mirrorResolution {
		return // no news
	}
	s.seen, b.LastSeen = m.now, m.now
	if used {
		s.uses++
		b.Requests++
		m.mirror.uses++
	}
	m.bound[k] = b
}

// catchUp has the table count all uses.
func (m *model) catchUp() {
	for k := range m.shown {
		m.c.Peek(k.service, k.key, m.now)
	}
}

// checkMirror checks that what the mirror shows is in force.
func (m *model) checkMirror() {
	if m.steps%8 > 0 { // Put and Delete look at each change
		return
	}
	for k, s := range m.shown {
		if b, ok := m.bound[k]; !ok || b.Pod != s.pod {
			m.t.Fatalf("%s: the mirror shows %v on %s, bound is %+v, %v", m.during, k, s.pod, b, ok)
		}
	}
}
