// Package affinity is the session table: which pod each session is bound to.
//
// An entry that is thrown out too early is not a slower answer, as in an
// ordinary cache, but a live session that lands on the wrong pod. So the table
// is judged by the live sessions it breaks, and everything follows from that:
// the first writer of a key wins and every later one is told the winner, a
// binding is replaced only by whoever names the pod it replaces, bindings
// expire by idleness and not by age, a session id that was used only once
// may not push out one that came back, and what is thrown out all the same
// leaves a ghost entry by which a session that comes back finds its pod.
//
//	table, err := affinity.New(affinity.Options{Capacity: 100_000})
//	if err != nil { ... }
//	b, won, err := table.Claim("chat", "user-1", "chat-0", now) // bound to chat-0, won
//	b, won, err = table.Claim("chat", "user-1", "chat-1", now)  // still chat-0, not won
//	b, ok := table.Lookup("chat", "user-1", now)                // chat-0, and idle for 0 s again
//
// The package is a pure core: every call takes the time, nothing here starts a
// goroutine, reads a clock or logs. The owner calls [Table.Expire] every
// [Options.CleanupInterval] and, if it says with [Table.Hold] and [Table.Release] which
// sessions have requests in flight, [Table.Renew] every second or so: those are not idle.
//
// # How it is built
//
// A key is hashed, with a seed of this process, to a 64-bit id; the id's upper
// bits choose one of a few dozen shards, each with its own lock, its own
// [evict.Policy] (which orders the entries and chooses what to drop) and its own counts.
// A shard finds an entry through an index of one byte for each, from which the
// entry's place follows, and keeps it, key and links included, in a slab without
// pointers: a hit waits for memory little more than once, and the garbage collector
// has nothing to do. Inside a shard the entries of one pod of one service form a
// group, so dropping a pod costs no more than its bindings, and long walks are done
// in short steps with the lock released between them. An evicted entry's id and pod
// are kept in 8 bytes, four for each entry; the pods' numbers in them are those of a
// golang-lru.
package affinity
