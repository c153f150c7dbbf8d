package fastpath_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/fastpathtest"
)

// known is what a session is to the model.
type known struct {
	pod  string
	uses uint32
	seen time.Duration
}

// model compares a small table, most of whose buckets are full, with a map.
type model struct {
	clock
	table    *fastpath.Table
	reader   *fastpathtest.Reader
	sessions map[string]*known
	serving  map[string]bool
}

const modelIdle = 10 * time.Second

func (m *model) publish(t *rapid.T) {
	key, pod := anySession(t), anyPod(t)
	age := time.Duration(rapid.IntRange(0, int(modelIdle/time.Second)).Draw(t, "age")) * time.Second
	s := m.sessions[key]
	if !m.table.Publish("chat", key, pod, age, idOf(key)) {
		if s != nil {
			t.Fatalf("%s is in the table, and was refused", key)
		}
		return
	}
	seen := m.at - age
	switch {
	case s == nil || s.pod != pod:
		m.sessions[key] = &known{pod: pod, seen: seen}
	case seen > s.seen:
		s.seen = seen
	}
}

func (m *model) withdraw(t *rapid.T) {
	key := anySession(t)
	m.table.Withdraw("chat", key)
	delete(m.sessions, key)
}

func (m *model) takeUse(t *rapid.T) {
	key := anySession(t)
	n, age, ok := m.table.TakeUse("chat", key)
	s := m.sessions[key]
	if ok != (s != nil) {
		t.Fatalf("%s: %v in the table, %+v in the model", key, ok, s)
	}
	if s == nil {
		return
	}
	if off := age - (m.at - s.seen); n != s.uses || off < -250*time.Millisecond || off > 250*time.Millisecond {
		t.Fatalf("%s: %d uses, the last %v ago; want %d and %v", key, n, age, s.uses, m.at-s.seen)
	}
	s.uses = 0
}

// recent looks for what was used in all parts of the table.
func (m *model) recent(t *rapid.T) {
	within, parts := time.Duration(rapid.IntRange(0, 8000).Draw(t, "within"))*time.Millisecond, rapid.IntRange(1, 5).Draw(t, "parts")
	found := map[uint64]int{}
	for part := range parts {
		for _, id := range m.table.Recent(nil, part, parts, within) {
			found[id]++
		}
	}
	for key, s := range m.sessions {
		n, idle := found[idOf(key)], m.at-s.seen
		delete(found, idOf(key))
		switch {
		case n > 1:
			t.Fatalf("%s is there %d times", key, n)
		case n == 0 && (s.uses > 0 || idle <= within):
			t.Fatalf("%s is not found: %d uses, the last %v ago", key, s.uses, idle)
		case n == 1 && s.uses == 0 && idle > within+500*time.Millisecond:
			t.Fatalf("%s is found, and was last seen %v ago", key, idle)
		}
	}
	if len(found) > 0 {
		t.Fatalf("%v are not in the table", found)
	}
}

// idOf is what a session has for the model.
func idOf(key string) (id uint64) {
	for _, c := range key {
		id = id*100 + uint64(c)
	}
	return id
}

func (m *model) lookup(t *rapid.T) {
	key := anySession(t)
	s, a := m.sessions[key], m.reader.Lookup("chat", key)
	if s == nil {
		if a.Result != "unknown" {
			t.Fatalf("%s: %+v, want unknown", key, a)
		}
		return
	}
	idle := m.at - s.seen
	switch {
	case !m.serving[s.pod]:
		if a.Result != "pod" {
			t.Fatalf("%s: %+v, its pod does not serve", key, a)
		}
	case a.Result == "idle":
		if idle < modelIdle-500*time.Millisecond {
			t.Fatalf("%s is idle after %v", key, idle)
		}
	case a.Result != "hit" || a.Pod != s.pod || a.Address != addresses[s.pod].String() || idle >= modelIdle:
		t.Fatalf("%s: %+v, want %s, last seen %v ago", key, a, s.pod, idle)
	default:
		s.seen = m.at
		s.uses++
	}
}

func (m *model) setPod(t *rapid.T) {
	pod, serving := anyPod(t), rapid.Bool().Draw(t, "serving")
	if err := m.table.SetPod("chat", pod, addresses[pod], serving); err != nil {
		t.Fatal(err)
	}
	m.serving[pod] = serving
}

func (m *model) wait(t *rapid.T) {
	m.at += time.Duration(rapid.IntRange(1, 4000).Draw(t, "ms")) * time.Millisecond
}

// all is asked after each step: nothing is lost or there twice when others are displaced.
func (m *model) all(t *rapid.T) {
	if n := m.table.Bindings(); n != len(m.sessions) {
		t.Fatalf("%d bindings, want %d", n, len(m.sessions))
	}
	for key := range m.sessions {
		if !m.reader.Holds("chat", key) {
			t.Fatalf("%s is lost", key)
		}
	}
}

func anySession(t *rapid.T) string { return fmt.Sprint("s", rapid.IntRange(0, 40).Draw(t, "session")) }
func anyPod(t *rapid.T) string {
	return rapid.SampledFrom([]string{"chat-0", "chat-1", "chat-2"}).Draw(t, "pod")
}

// Whatever is done, readers find of every session what was published last, and the writer
// hears of every use.
func TestModel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		m := &model{clock: clock{at: time.Hour}, sessions: map[string]*known{}, serving: map[string]bool{}}
		path := filepath.Join(dir, "table")
		table, err := fastpath.Create(fastpath.Options{Path: path, Capacity: 24, Pods: 3, Services: 1, Now: m.now})
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close(false)
		m.table = table
		service := chat()
		service.Session.IdleTimeout = modelIdle
		if err := table.SetService(service); err != nil {
			t.Fatal(err)
		}
		for pod := range addresses {
			m.serving[pod] = true
			if err := table.SetPod("chat", pod, addresses[pod], true); err != nil {
				t.Fatal(err)
			}
		}
		if err := table.Activate(); err != nil {
			t.Fatal(err)
		}
		if m.reader, err = fastpathtest.Open(path, 1, m.now); err != nil {
			t.Fatal(err)
		}
		defer m.reader.Close()
		for i := range 27 { // the last ones displace others
			if key := fmt.Sprint("s", i); table.Publish("chat", key, "chat-0", 0, idOf(key)) {
				m.sessions[key] = &known{pod: "chat-0", seen: m.at}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": m.publish, "publish another": m.publish, "withdraw": m.withdraw, "take use": m.takeUse,
			"lookup": m.lookup, "recent": m.recent, "set pod": m.setPod, "wait": m.wait, "": m.all,
		})
	})
}
