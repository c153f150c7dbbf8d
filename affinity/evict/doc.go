// Package evict holds the strategies by which a session table chooses the bindings it
// drops when it is full: lru, lfu, ttl, adaptive, and one's own.
//
// A [Strategy] makes a [Policy] for each shard of a table. The policy is told of every
// entry that comes, is used and goes, keeps them in the order it likes, mostly in a
// [List], and names a victim when the shard needs room. It knows nothing of keys, pods
// or locks, and the table knows nothing of its order.
//
// A strategy of one's own is a Strategy and its Policy. It gets a name in a [Registry],
// which internal/extensions fills, and the configuration selects it by that name.
package evict
