package affinity

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Policy orders the entries of one shard and chooses what to drop. It is called
// with the shard's lock held, by one goroutine at a time, and must be quick.
type Policy interface {
	// Add takes note of a new entry.
	Add(e *Entry)
	// Used takes note of a use. The entry's facts are those before it.
	Used(e *Entry)
	// Victim chooses the entry to drop for a new one, and why; the shard then
	// removes it. It is only called with at least one entry in the shard.
	// ErrFull keeps them all and refuses the new one. Now is by the table's clock,
	// which goes on evenly when the wall clock is set, as are the entries' times.
	Victim(now time.Time) (e *Entry, why Reason, err error)
	// Remove forgets an entry that is about to leave the table.
	Remove(e *Entry)
}

// Learner is a Policy that wants to hear of its mistakes.
type Learner interface {
	Policy
	// Broke says that a session came back whose entry had been evicted, and
	// which mark the entry had.
	Broke(mark uint8)
}

// relocater is a Policy that knows entries by their slots, which change when the slab
// grows.
type relocater interface {
	relocated(slots []uint32)
}

// Strategy makes the policies of one Cache, one for each shard.
type Strategy interface {
	NewPolicy(room Room) Policy
}

// Adaptive is a Strategy that changes its way on what is measured.
type Adaptive interface {
	Strategy
	// Observe is given the rates since the last call. It returns the mode it is
	// in from now on, and why if that is another one than before.
	Observe(Rates) (mode, why string)
}

// Rates are what happened between two calls of Cache.Expire.
type Rates struct {
	// Lookups, and how many of them found a binding.
	Lookups, Hits uint64
	// Broken sessions: see Stats.
	Broken uint64
	// Inserts of new bindings, and live bindings Evicted for want of room.
	Inserts, Evicted uint64
}

// HitRate is the share of lookups that found a binding; 0 without any.
func (r Rates) HitRate() float64 { return share(r.Hits, r.Lookups) }

// BrokenRate is broken sessions by lookups; 0 without any.
func (r Rates) BrokenRate() float64 { return share(r.Broken, r.Lookups) }

func share(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// Registry knows strategies by name.
type Registry struct {
	mu     sync.Mutex
	byName map[string]func() Strategy
}

// NewRegistry returns a registry with the built-in strategies: lru, lfu, ttl
// and adaptive.
func NewRegistry() *Registry {
	return &Registry{byName: map[string]func() Strategy{
		"lru":      func() Strategy { return lruStrategy{} },
		"lfu":      func() Strategy { return lfuStrategy{} },
		"ttl":      func() Strategy { return ttlStrategy{} },
		"adaptive": newAdaptive,
	}}
}

// Register adds a strategy; build is called once for each Cache. A name that is
// empty or taken is an error.
func (r *Registry) Register(name string, build func() Strategy) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name == "" || build == nil {
		return errors.New("affinity: a strategy needs a name and a constructor")
	}
	if _, taken := r.byName[name]; taken {
		return fmt.Errorf("affinity: strategy %q is registered already", name)
	}
	r.byName[name] = build
	return nil
}

// Names lists the strategies in alphabetical order.
func (r *Registry) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.byName))
}

// New makes the strategy of a name.
func (r *Registry) New(name string) (Strategy, error) {
	r.mu.Lock()
	build := r.byName[name]
	r.mu.Unlock()
	if build == nil {
		return nil, fmt.Errorf("affinity: unknown strategy %q (known: %s)", name, strings.Join(r.Names(), ", "))
	}
	return build(), nil
}
