package affinity

import (
	"fmt"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

// The defaults of Options.
const (
	DefaultStrategy          = "lru"
	DefaultCapacity          = 1_000_000
	DefaultDefaultExpiration = 30 * time.Minute
	DefaultCleanupInterval   = time.Minute
	DefaultJournalSteps      = 16
)

const (
	// minPerShard keeps the shards large enough for their fill to stay even:
	// the keys of a shard of n entries vary by about the square root of n.
	minPerShard = 1024
	// perShard is the number of entries a shard has when there are many: few enough
	// for it to grow in a millisecond.
	perShard = 12_500
	// maxPerShard is what entry.seat can count.
	maxPerShard = 1 << 24
	// enoughShards are enough for many cores to rarely meet.
	enoughShards = 64
	maxShards    = 1 << 16
	maxCapacity  = maxShards * perShard
)

// Options configure a Table. The zero value is valid.
type Options struct {
	// Strategy is the name of a registered strategy; empty means "lru".
	Strategy string
	// Registry knows the strategies by name; nil means the built-in ones.
	Registry *evict.Registry
	// Capacity is the largest number of bindings kept; 0 means 1,000,000.
	Capacity int
	// DefaultExpiration is how long a binding that is not used is kept, where
	// its service sets nothing else; 0 means 30 minutes.
	DefaultExpiration time.Duration
	// CleanupInterval is how often the owner will call Expire; 0 means one
	// minute. The table itself has no clock and only hands it on.
	CleanupInterval time.Duration
	// Shards is the number of independently locked parts; 0 means as many as
	// Capacity needs. A shard has at most 16,777,216 bindings.
	Shards int
	// EpochsAbove is a number that the epochs of all new bindings are above: the highest
	// that an earlier process may have given, of which its file knows. 0 means that there
	// was none.
	EpochsAbove uint64
	// ForgetEvicted has the table forget what it evicts. It is for one that holds some of
	// what another store has: that may give an evicted session another pod.
	ForgetEvicted bool
	// Journal is told every change of a binding, in the order of the changes of
	// its key; nil means that nothing is kept beyond the process.
	Journal Journal
	// Mirror shows bindings to others, see Table.Show; nil means that none is shown.
	Mirror Mirror
	// JournalSteps is how often in an idle timeout the journal is told of a session that
	// is used all the while: at most so often, and at least half as often. 0 means 16.
	JournalSteps int
	// OnSwitch is called when the adaptive strategy changes its way, from
	// within Expire and without a lock held; nil means that nobody listens.
	OnSwitch func(from, to, why string)
}

// Journal is told what to keep beyond the process. It is called with a shard
// locked: it must neither block nor call the table. The strings it is given are
// copies, which it may keep.
type Journal interface {
	// Put says that b is in force now: made, moved, or still in use. Ordinary
	// use of a binding is told when it is the first one after the claim, and then
	// as often as Options.JournalSteps says;
	// a request that is in flight for longer is a use all the while, see Table.Renew.
	Put(b statefulroute.Binding)
	// Delete says that the binding of key is gone: deleted, expired or evicted.
	Delete(service, key string)
}

func (o *Options) withDefaults() Options {
	out := *o
	if out.Strategy == "" {
		out.Strategy = DefaultStrategy
	}
	if out.Registry == nil {
		out.Registry = evict.NewRegistry()
	}
	if out.Capacity == 0 {
		out.Capacity = DefaultCapacity
	}
	if out.DefaultExpiration == 0 {
		out.DefaultExpiration = DefaultDefaultExpiration
	}
	if out.CleanupInterval == 0 {
		out.CleanupInterval = DefaultCleanupInterval
	}
	if out.JournalSteps == 0 {
		out.JournalSteps = DefaultJournalSteps
	}
	if out.Shards == 0 {
		out.Shards = defaultShards(out.Capacity)
	}
	return out
}

func (o *Options) validate() error {
	switch {
	case o.Capacity < 0 || o.Capacity > maxCapacity:
		return fmt.Errorf("affinity: capacity %d is not in 1..%d", o.Capacity, maxCapacity)
	case o.DefaultExpiration < 0:
		return fmt.Errorf("affinity: negative default_expiration %s", o.DefaultExpiration)
	case o.CleanupInterval < 0:
		return fmt.Errorf("affinity: negative cleanup_interval %s", o.CleanupInterval)
	case o.JournalSteps < 0:
		return fmt.Errorf("affinity: %d journal steps", o.JournalSteps)
	case o.Shards < 0 || o.Shards > maxShards:
		return fmt.Errorf("affinity: %d shards are not in 1..%d", o.Shards, maxShards)
	case o.Shards > 0 && shareOf(o.Capacity, o.Shards, 0)+headroom(o.Capacity/o.Shards, o.Shards) > maxPerShard:
		return fmt.Errorf("affinity: %d shards cannot hold %d bindings, %d each at most", o.Shards, o.Capacity, maxPerShard)
	case o.Shards > o.Capacity:
		return fmt.Errorf("affinity: %d shards for a capacity of %d", o.Shards, o.Capacity)
	}
	return nil
}

// defaultShards is as many as are useful, as long as each is large enough.
func defaultShards(capacity int) int {
	return max(min(capacity/minPerShard, enoughShards), capacity/perShard, 1)
}
