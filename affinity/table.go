package affinity

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
	"github.com/stateful-route/stateful-route/internal/monotonic"
)

// Table is the session table. Its methods may be called concurrently.
type Table struct {
	services services
	shards   []shard
	seed     maphash.Seed
	options  Options
	tuner    tuner
	numbers  *podNumbers
	clock    *monotonic.Clock
	renewed  atomic.Int64 // when Renew was called last, by the clock
	walking  sync.Mutex   // guards walk
	walk     mirrorWalk
}

// New returns an empty table, or an error that says which option is wrong.
func New(o Options) (*Table, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	strategy, err := o.Registry.New(o.Strategy)
	if err != nil {
		return nil, err
	}
	t := &Table{
		services: services{dflt: o.DefaultExpiration, steps: int64(o.JournalSteps)},
		shards:   make([]shard, o.Shards),
		seed:     maphash.MakeSeed(),
		options:  o,
		tuner:    tuner{strategy: strategy},
		numbers:  newPodNumbers(mostNumbered),
		clock:    &monotonic.Clock{},
	}
	t.lay(strategy)
	return t, nil
}

// lay makes the shards.
func (t *Table) lay(strategy evict.Strategy) {
	o := t.options
	all := &total{capacity: int64(o.Capacity), numbers: t.numbers, journal: o.Journal, mirror: o.Mirror, clock: t.clock, forgetEvicted: o.ForgetEvicted}
	for i := range t.shards {
		share := shareOf(o.Capacity, o.Shards, i)
		sh := &t.shards[i]
		sh.total, sh.limit = all, share+headroom(share, o.Shards)
		sh.slab, sh.ghosts = newSlab(sh.limit), ghosts{entries: sh.limit}
		sh.groups, sh.previous = map[groupKey]*group{}, map[uint64]unique.Handle[string]{}
		sh.room = evict.NewRoom(&sh.slab, share)
		sh.policy, sh.inUse = strategy.NewPolicy(sh.room), map[uint64]uint32{}
		sh.renewer, _ = sh.policy.(evict.Renewer)
		sh.forgotten = o.EpochsAbove
	}
}

// shareOf splits a capacity into parts that differ by at most one.
func shareOf(capacity, shards, i int) int {
	share := capacity / shards
	if i < capacity%shards {
		share++
	}
	return share
}

// headroom is how far a shard may go beyond its share: four times the standard
// deviation of the number of keys that fall into it, so that the table as a whole
// is full before a shard is.
func headroom(share, shards int) int {
	if shards == 1 {
		return 0
	}
	return int(4 * math.Sqrt(float64(share)))
}

// nanos is now on the clock of the entries.
func (t *Table) nanos(now time.Time) int64 { return t.clock.Nanos(now) }

// id is the hash of a key of a service.
func (t *Table) id(s *service, key string) uint64 { return maphash.String(t.seed, key) ^ s.salt }

// at returns where a key of a service lives.
func (t *Table) at(s *service, key string) (*shard, uint64) {
	id := t.id(s, key)
	return &t.shards[t.shardOf(id)], id
}

// shardOf spreads the ids evenly over the shards and in their order, so that a
// page of a list needs one shard after the other.
func (t *Table) shardOf(id uint64) int {
	hi, _ := bits.Mul64(id, uint64(len(t.shards)))
	return int(hi)
}

// Lookup returns the binding of a session's request and renews it. A binding that
// was evicted is made anew, on its pod, if the table remembers it: it then begins
// at now, with two requests. Lookup does not allocate.
func (t *Table) Lookup(service, key string, now time.Time) (b statefulroute.Binding, ok bool) {
	s := t.services.get(service)
	if s == nil {
		t.shards[0].miss()
		return b, false
	}
	sh, id := t.at(s, key)
	ok = sh.lookup(&b, s, id, key, t.nanos(now))
	return b, ok
}

// Peek returns a live binding and leaves it as it is, uncounted.
func (t *Table) Peek(service, key string, now time.Time) (statefulroute.Binding, bool) {
	s := t.services.get(service)
	if s == nil {
		return statefulroute.Binding{}, false
	}
	sh, id := t.at(s, key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.peekLocked(s, id, key, t.nanos(now)); e != nil {
		return sh.bindingLocked(e, key), true
	}
	return statefulroute.Binding{}, false
}

// Remembered returns the pod of a binding that was evicted, to which a Lookup would
// bind the key again.
func (t *Table) Remembered(service, key string, now time.Time) (pod string, ok bool) {
	s := t.services.get(service)
	if s == nil {
		return "", false
	}
	sh, id := t.at(s, key)
	return sh.remembered(s, id, t.nanos(now))
}

// Claim binds a key to a pod if it has no live binding, be it one that was evicted and is
// remembered. It returns the binding in force and whether this call made it; ErrFull
// where the strategy refuses.
func (t *Table) Claim(service, key, pod string, now time.Time) (b statefulroute.Binding, won bool, err error) {
	s := t.services.getOrAdd(service)
	sh, id := t.at(s, key)
	won, err = sh.claim(&b, s, id, key, pod, t.nanos(now))
	return b, won, err
}

// Rebind binds a key to another pod if old, as Lookup or Claim gave it, is still its
// binding: by its epoch and pod, or by the pod alone where one of the two was evicted and
// is only remembered. It returns the binding in force and whether this call made it;
// ErrGone if there is none. It is not counted as a use: the Lookup before it was.
func (t *Table) Rebind(old statefulroute.Binding, to string, now time.Time) (b statefulroute.Binding, won bool, err error) {
	s := t.services.get(old.Service)
	if s == nil {
		return statefulroute.Binding{}, false, statefulroute.ErrGone
	}
	sh, id := t.at(s, old.Key)
	return sh.rebind(s, id, &old, to, t.nanos(now))
}

// Move binds a key to a pod, whatever it was bound to, for an operator. It is
// not a use of the session: neither its idle time nor its requests change.
func (t *Table) Move(service, key, to string, now time.Time) (statefulroute.Binding, error) {
	s := t.services.getOrAdd(service)
	sh, id := t.at(s, key)
	return sh.move(s, id, key, to, t.nanos(now))
}

// GiveUp evicts a session of the pod that was used only once, for the sake of a new one
// where the pod may have no more sessions, and reports whether there was any. The session
// keeps its pod, as every evicted one, in case that it comes back. One that is in use is
// not given up. It looks into each shard at most once, at a few entries, and into none if
// no session was used once.
func (t *Table) GiveUp(service, pod string, now time.Time) bool {
	s := t.services.get(service)
	if s == nil || s.totals.once.Load() == 0 {
		return false
	}
	p := s.pod(pod)
	if p == nil || p.once.Load() == 0 {
		return false
	}
	at, first := t.nanos(now), int(p.turn.Add(1))
	for i := range t.shards {
		if t.shards[(first+i)%len(t.shards)].giveUp(s, pod, first, at) {
			return true
		}
	}
	return false
}

// Delete forgets a binding, evicted or not, and reports whether there was one.
func (t *Table) Delete(service, key string) bool {
	s := t.services.get(service)
	if s == nil {
		return false
	}
	sh, id := t.at(s, key)
	return sh.delete(s, id, key)
}

// End forgets a binding, evicted or not, if old is still it, as for Rebind, and reports
// whether it was. It is for a session that its client has ended: one that was moved
// meanwhile stays.
func (t *Table) End(old statefulroute.Binding, now time.Time) bool {
	s := t.services.get(old.Service)
	if s == nil {
		return false
	}
	sh, id := t.at(s, old.Key)
	return sh.end(s, id, &old, t.nanos(now))
}

// Checkpoint tells the journal of all uses that it does not know yet, for an owner
// that is about to stop. Sessions in use are seen now: nobody will know of the ends of
// their requests. It never holds a lock for more than a few hundred entries.
func (t *Table) Checkpoint(now time.Time) {
	at := t.nanos(now)
	t.renew(at)
	for i := range t.shards {
		t.shards[i].checkpoint(at)
	}
}

// SetIdleTimeout sets how long an unused binding of the service is kept, for
// the present bindings too; 0 means Options.DefaultExpiration.
func (t *Table) SetIdleTimeout(service string, d time.Duration) {
	t.services.getOrAdd(service).idle.Store(int64(max(d, 0)))
}
