package affinity

import (
	"fmt"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// usedAgo is a mirror in which every binding that is shown was used a number of times, some
// time ago, since it was asked last.
type usedAgo struct {
	uses  uint32
	ago   time.Duration
	asked int
	shows int
	shown map[string]bool
	ids   []uint64 // of all that were shown
	last  shownLast
}

// shownLast is what was shown last.
type shownLast struct {
	key, pod string
	age      time.Duration
}

func (u *usedAgo) Show(_, key, pod string, age time.Duration, id uint64) bool {
	u.shows++
	u.ids = append(u.ids, id)
	u.last = shownLast{key, pod, age}
	u.shown[key] = true
	return true
}
func (u *usedAgo) Withdraw(_, key string) { delete(u.shown, key) }

func (u *usedAgo) Used(_, key string) (n uint32, age time.Duration, ok bool) {
	u.asked++
	return u.uses, u.ago, u.shown[key]
}

func (u *usedAgo) Recent(to []uint64, part, parts int, _ time.Duration) []uint64 {
	n := len(u.ids)
	return append(to, u.ids[n*part/parts:n*(part+1)/parts]...)
}

// lastPut is a journal of one session.
type lastPut struct{ b statefulroute.Binding }

func (l *lastPut) Put(b statefulroute.Binding) { l.b = b }
func (l *lastPut) Delete(string, string)       {}

// Uses by way of the mirror reach the journal by Renew alone, and at the end by Checkpoint.
func TestRenewCountsUsesByWayOfTheMirror(t *testing.T) {
	mirror, journal := &usedAgo{uses: 3, ago: time.Second, shown: map[string]bool{}}, &lastPut{}
	c := newTable(t, Options{Mirror: mirror, Journal: journal, DefaultExpiration: time.Minute})
	b, _, err := c.Claim("chat", "alice", "pod-1", t0)
	if err != nil || !c.Show(b, t0) {
		t.Fatalf("not shown: %v", err)
	}
	now := t0.Add(10 * time.Second)
	c.Renew(now)
	if got := journal.b; got.Requests != 4 || !got.LastSeen.Equal(now.Add(-mirror.ago)) {
		t.Errorf("after Renew the journal has %+v", got)
	}
	now = now.Add(100 * time.Millisecond)
	c.Checkpoint(now)
	if got := journal.b; got.Requests != 7 || !got.LastSeen.Equal(now.Add(-mirror.ago)) {
		t.Errorf("after Checkpoint the journal has %+v", got)
	}
}

// What a mirror says of ages is rounded: that alone is nothing to tell the journal of.
func TestRoundedAgesAreNoNews(t *testing.T) {
	mirror, journal := &usedAgo{ago: time.Minute - 250*time.Millisecond, shown: map[string]bool{}}, &lastPut{}
	c := newTable(t, Options{Mirror: mirror, Journal: journal, DefaultExpiration: time.Hour})
	b, _, err := c.Claim("chat", "alice", "pod-1", t0)
	if err != nil || !c.Show(b, t0) {
		t.Fatalf("not shown: %v", err)
	}
	journal.b = statefulroute.Binding{}
	if c.Checkpoint(t0.Add(time.Minute)); journal.b.Key != "" {
		t.Errorf("the journal is told of %+v", journal.b)
	}
	mirror.ago = 30 * time.Second
	if c.Checkpoint(t0.Add(time.Minute)); !journal.b.LastSeen.Equal(t0.Add(30 * time.Second)) {
		t.Errorf("of a session that was seen the journal has %+v", journal.b)
	}
}

// A walk through many shown bindings that are used is spread over the calls of Renew, and no
// other is looked at.
func TestRenewCatchesUpInSteps(t *testing.T) {
	const sessions = 50_000
	mirror := &usedAgo{shown: map[string]bool{}}
	c := newTable(t, Options{Mirror: mirror, Capacity: sessions, DefaultExpiration: time.Hour})
	for i := range sessions / 2 {
		if b, _, err := c.Claim("chat", fmt.Sprint(i), "pod-1", t0); err != nil || !c.Show(b, t0) {
			t.Fatal("not shown", err)
		}
	}
	c.Renew(t0)
	most, all := 0, 0
	for second := range int(catchUpWithin / time.Second) {
		mirror.asked = 0
		c.Renew(t0.Add(time.Duration(second+1) * time.Second))
		most, all = max(most, mirror.asked), all+mirror.asked
	}
	if all < sessions/2*9/10 || most > sessions/2/10 {
		t.Errorf("%d asked in all of %d, %d at once", all, sessions/2, most)
	}
	mirror.ids, mirror.asked = mirror.ids[:10], 0
	for second := range int(2 * catchUpWithin / time.Second) {
		c.Renew(t0.Add(catchUpWithin + time.Duration(second+1)*time.Second))
	}
	if mirror.asked < 10 || mirror.asked > 20 {
		t.Errorf("in two rounds of which ten sessions are used each, %d are asked for", mirror.asked)
	}
}

// A session is shown anew when the mirror is about to take it for idle, though it is not:
// its last uses were look-ups. One that the mirror has lost is, too.
func TestShowAgain(t *testing.T) {
	mirror := &usedAgo{shown: map[string]bool{}}
	c := newTable(t, Options{Mirror: mirror, DefaultExpiration: time.Minute})
	b, _, _ := c.Claim("chat", "alice", "pod-1", t0)
	for _, step := range []struct {
		lost  bool
		ago   time.Duration
		again int
	}{{true, 0, 1}, {false, 10 * time.Second, 0}, {false, 40 * time.Second, 1}} {
		mirror.ago, mirror.shows = step.ago, 0
		if step.lost {
			clear(mirror.shown)
		}
		if !c.Show(b, t0) || !mirror.shown["alice"] || mirror.shows != step.again {
			t.Errorf("%+v: %d times shown, now %v", step, mirror.shows, mirror.shown)
		}
	}
}

// A session that is shown is shown on its new pod when a move or a rebind returns; one that is
// not, is not.
func TestAMovedSessionIsShownAtOnce(t *testing.T) {
	mirror := &usedAgo{ago: 10 * time.Second, shown: map[string]bool{}}
	c := newTable(t, Options{Mirror: mirror, DefaultExpiration: time.Minute})
	now := t0.Add(30 * time.Second)
	shown, _, _ := c.Claim("chat", "alice", "pod-1", t0)
	hidden, _, _ := c.Claim("chat", "bob", "pod-1", t0)
	if !c.Show(shown, t0) {
		t.Fatal("not shown")
	}
	for _, to := range []string{"pod-2", "pod-3"} {
		mirror.shows, mirror.last = 0, shownLast{}
		move := func(b statefulroute.Binding) (statefulroute.Binding, error) {
			if to == "pod-2" {
				return c.Move(b.Service, b.Key, to, now)
			}
			b, _, err := c.Rebind(b, to, now)
			return b, err
		}
		var err error
		if shown, err = move(shown); err != nil {
			t.Fatal(err)
		}
		if hidden, err = move(hidden); err != nil {
			t.Fatal(err)
		}
		if want := (shownLast{"alice", to, mirror.ago}); mirror.shows != 1 || mirror.last != want || !mirror.shown["alice"] {
			t.Errorf("%d shown, the last as %+v, not once as %+v", mirror.shows, mirror.last, want)
		}
	}
}

// Without a mirror, and of sessions that are not bound, nothing is shown.
func TestShowNothing(t *testing.T) {
	c := newTable(t, Options{})
	b, _, _ := c.Claim("chat", "alice", "pod-1", t0)
	if c.Show(b, t0) {
		t.Error("shown without a mirror")
	}
	mirror := &usedAgo{shown: map[string]bool{}}
	c = newTable(t, Options{Mirror: mirror})
	if b, _, _ = c.Claim("chat", "alice", "pod-1", t0); c.Show(statefulroute.Binding{Service: "chat", Key: "alice", Pod: "pod-1"}, t0) {
		t.Error("shown without an epoch")
	}
	if c.Delete("chat", "alice"); c.Show(b, t0) || len(mirror.shown) > 0 {
		t.Error("shown after it was deleted")
	}
}

// Look-ups that somebody else made are in the statistics.
func TestCountHits(t *testing.T) {
	c := newTable(t, Options{})
	c.Lookup("chat", "alice", t0)
	c.CountHits(3)
	if s := c.Stats(); s.Hits != 3 || s.Misses != 1 || s.HitRate != 0.75 {
		t.Errorf("%+v", s)
	}
}
