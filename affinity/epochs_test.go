package affinity

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
	"github.com/stateful-route/stateful-route/internal/monotonic/clocktest"
)

// epochs plays operations to small tables, one process after the other, while the wall clock
// is set, and holds every binding against all that there were.
type epochs struct {
	*rapid.T
	strategy string
	table    *Table
	journal  book // as the file has it
	began    time.Time
	passed   time.Duration
	set      time.Duration // of the wall clock

	pods    map[string]map[uint64]string // of each key, by epoch
	highest map[string]uint64
	most    uint64 // as high as an epoch may be
}

func (e *epochs) now() time.Time { return clocktest.Set(e.began.Add(e.passed), e.set) }

func (e *epochs) start(kept book, above uint64) {
	var err error
	e.journal = maps.Clone(kept)
	e.table, err = New(Options{Strategy: e.strategy, Capacity: 4, Shards: 2, DefaultExpiration: time.Minute, Journal: e.journal, EpochsAbove: above})
	if err != nil {
		e.Fatal(err)
	}
	e.table.Restore(slices.Collect(maps.Values(kept)), e.now())
}

// hold checks a binding that the table gave: an epoch of a key is of one pod for ever, and
// one that is new is above all others.
func (e *epochs) hold(b statefulroute.Binding, err error) {
	if err != nil || b.Epoch == 0 {
		return
	}
	if e.pods[b.Key] == nil {
		e.pods[b.Key] = map[uint64]string{}
	}
	was, known := e.pods[b.Key][b.Epoch]
	switch {
	case known && was != b.Pod:
		e.Fatalf("epoch %d of %s is of %s and was of %s", b.Epoch, b.Key, b.Pod, was)
	case !known && b.Epoch <= e.highest[b.Key]:
		e.Fatalf("%+v after epoch %d", b, e.highest[b.Key])
	case b.Epoch > e.most:
		e.Fatalf("%+v has run away from the clock, %d at most", b, e.most)
	}
	e.pods[b.Key][b.Epoch] = b.Pod
	e.highest[b.Key] = max(e.highest[b.Key], b.Epoch)
}

func (e *epochs) step() {
	key := fmt.Sprint("k", rapid.IntRange(0, 6).Draw(e.T, "key"))
	pod := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(e.T, "pod")
	seconds := func(to int) time.Duration {
		return time.Duration(rapid.IntRange(-to, to).Draw(e.T, "seconds")) * time.Second
	}
	now := e.now()
	// Every step may be a new epoch in the millisecond of the one before.
	e.most = max(e.most, uint64(now.UnixMilli())) + 1
	found, ok := e.table.Peek("chat", key, now)
	if !ok {
		found = to("chat", key, pod)
	}
	switch rapid.SampledFrom([]string{
		"claim", "claim", "claim", "look up", "rebind", "move", "end", "delete", "give up", "drop", "flush", "expire", "wait", "set", "restart", "kill",
	}).Draw(e.T, "operation") {
	case "claim":
		b, _, err := e.table.Claim("chat", key, pod, now)
		e.hold(b, err)
	case "look up":
		b, ok := e.table.Lookup("chat", key, now)
		if e.hold(b, nil); ok && found.Epoch != 0 && b.Epoch != found.Epoch {
			e.Fatalf("a look-up changed epoch %d to %d", found.Epoch, b.Epoch)
		}
	case "rebind":
		b, won, err := e.table.Rebind(found, pod, now)
		if e.hold(b, err); found.Epoch != 0 && (!won || (b.Epoch > found.Epoch) != (pod != found.Pod)) {
			e.Fatalf("%+v rebound to %s: %+v, %v, %v", found, pod, b, won, err)
		}
	case "move":
		e.hold(e.table.Move("chat", key, pod, now))
	case "end":
		e.table.End(found, now)
	case "delete":
		e.table.Delete("chat", key)
	case "give up":
		e.table.GiveUp("chat", pod, now)
	case "drop":
		e.table.DropPod("chat", pod)
	case "flush":
		e.table.Flush("chat")
	case "expire":
		e.table.Expire(now)
	case "wait":
		e.passed += seconds(40).Abs()
	case "set":
		e.set += seconds(100_000)
	case "restart":
		e.start(e.journal, slices.Max(append(slices.Collect(maps.Values(e.highest)), 0)))
	case "kill": // with what was changed last
		kept := maps.Clone(e.journal)
		b, _, err := e.table.Claim("chat", key, pod, now)
		e.hold(b, err)
		if ok {
			e.hold(e.table.Move("chat", found.Key, pod, now))
		}
		e.start(kept, slices.Max(append(slices.Collect(maps.Values(e.highest)), 0)))
	}
	for b := range e.table.All() {
		e.hold(b, nil)
	}
}

// An epoch is never used again for a key, whatever becomes of its bindings and of the wall
// clock, in one process or in the next.
func TestEpochsOfAKeyOnlyGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := &epochs{
			T: t, strategy: rapid.SampledFrom(evict.NewRegistry().Names()).Draw(t, "strategy"),
			began: time.Now(), pods: map[string]map[uint64]string{}, highest: map[string]uint64{},
		}
		e.start(book{}, 0)
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			e.step()
		}
	})
}

// The epoch of a new binding is the time in milliseconds, and many in one of them are the
// same: only what was forgotten counts.
func TestAnEpochIsTheTimeOfTheClaim(t *testing.T) {
	c := newTable(t, Options{})
	for i := range 1000 {
		b, _, err := c.Claim("chat", fmt.Sprint(i), "a", t0)
		if err != nil || b.Epoch != uint64(t0.UnixMilli()) {
			t.Fatalf("%+v, %v", b, err)
		}
	}
	for i := range uint64(3) { // deleted and bound again within the millisecond
		c.Delete("chat", "7")
		if b, _, _ := c.Claim("chat", "7", "a", t0); b.Epoch != uint64(t0.UnixMilli())+i+1 {
			t.Fatalf("%+v", b)
		}
	}
	if b, _, _ := c.Claim("chat", "long before", "a", time.Unix(-5, 0)); b.Epoch == 0 {
		t.Errorf("%+v", b)
	}
}

// What replaces or ends a binding must name the one that is there, not one that was on the
// same pod before.
func TestABindingIsKnownByItsEpoch(t *testing.T) {
	c := newTable(t, Options{})
	first, _, _ := c.Claim("chat", "k", "a", t0)
	if _, err := c.Move("chat", "k", "b", t0); err != nil {
		t.Fatal(err)
	}
	again, err := c.Move("chat", "k", "a", t0)
	if err != nil {
		t.Fatal(err)
	}
	if b, won, err := c.Rebind(first, "c", t0); won || err != nil || b != again {
		t.Errorf("rebound by what was: %+v, %v, %v", b, won, err)
	}
	if c.End(first, t0) || !c.End(again, t0) {
		t.Error("ended by what was, or not by what is")
	}
}

// Of what somebody else decided, the highest epoch holds, in whatever order it is told.
func TestApplyTakesTheHighestEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := book{}
		c, err := New(Options{Journal: b, DefaultExpiration: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		told := map[uint64]statefulroute.Binding{}
		for _, epoch := range rapid.SliceOfN(rapid.Uint64Range(1, 9), 1, 20).Draw(t, "epochs") {
			told[epoch] = statefulroute.Binding{
				Service: "chat", Key: "k", Pod: fmt.Sprint("pod-", epoch%4), Epoch: epoch,
				Created: t0, LastSeen: t0.Add(time.Duration(epoch) * time.Second), Requests: epoch,
			}
		}
		highest, now := uint64(0), t0.Add(time.Minute)
		for _, epoch := range rapid.Permutation(slices.Sorted(maps.Keys(told))).Draw(t, "order") {
			for range 2 {
				applied, err := c.Apply(told[epoch], now)
				if err != nil || applied != (epoch > highest) {
					t.Fatalf("epoch %d after %d: %v, %v", epoch, highest, applied, err)
				}
				highest = max(highest, epoch)
			}
			got, ok := c.Peek("chat", "k", now)
			want := told[highest]
			want.PreviousPod, want.Requests, want.LastSeen = got.PreviousPod, got.Requests, got.LastSeen
			if !ok || got != want || b["k"].Epoch != highest || got.Requests < told[highest].Requests || got.LastSeen.Before(told[highest].LastSeen) {
				t.Fatalf("got %+v, journal %+v, want %+v", got, b["k"], told[highest])
			}
			if n := c.PodSessions("chat", got.Pod); n != 1 {
				t.Fatalf("%d sessions of %s", n, got.Pod)
			}
		}
	})
}

func TestApplyRefuses(t *testing.T) {
	c := newTable(t, Options{Strategy: "ttl", Capacity: 1, Shards: 1, DefaultExpiration: time.Minute})
	if applied, err := c.Apply(to("chat", "k", "a"), t0); applied || err != nil {
		t.Errorf("without an epoch: %v, %v", applied, err)
	}
	b := to("chat", "k", "a")
	b.Epoch, b.LastSeen = 9, t0
	if applied, err := c.Apply(b, t0); !applied || err != nil {
		t.Errorf("%v, %v", applied, err)
	}
	other := b
	other.Key = "other"
	if applied, err := c.Apply(other, t0); applied || !errors.Is(err, statefulroute.ErrFull) {
		t.Errorf("into a full table: %v, %v", applied, err)
	}
	// One that has expired was bound nonetheless.
	b.Epoch--
	if applied, _ := c.Apply(b, t0.Add(time.Hour)); applied {
		t.Error("a lower epoch replaced one that has expired")
	}
}
