// Package fastpath writes the table by which Envoy answers for known sessions without a
// callout: a file in shared memory that extproc alone writes, and that the module in
// fastpath/module reads in Envoy's own threads.
//
//	t, err := fastpath.Create(fastpath.Options{Path: "/dev/shm/stateful-route", Capacity: 1_000_000, Pods: 1000, Services: 100})
//	err = t.SetService(service)                         // its policy
//	err = t.SetPod("chat", "chat-0", address, true)     // where its pods are, and whether they serve
//	t.Publish("chat", "session-1", "chat-0", 0, 0)      // what is bound
//	err = t.Activate()                                  // from now on Envoy acts on it
//
// The table says less than extproc knows, never more: whatever is not in it, or is doubtful,
// takes the callout. So its user withdraws a binding before it changes, and publishes it
// after. A table that was left by an earlier process is acted on until Activate: before
// that, no binding may change.
//
// # The file
//
// It is made as PATH.<random>, for its owner alone (0600), filled, and renamed to PATH; the
// one that was there is marked retired. A mapped file never changes its size, and no process
// needs another to go on: extproc may be killed at any instant, and so may Envoy. All
// numbers are little endian; words are aligned. Space for all of it but the pods is allocated when it is
// made, and that of a pod's record when a pod is first given it, because a hole that a full file system cannot fill
// ends the process that touches it.
//
//	   0  header, 4096 bytes
//	      0 "strroute" · 8 u32 version = 2 · 12 u32 header size · 16 u64 file size · 24 16 bytes: the hash's key
//	      40 u64 buckets, 48 u64 their offset · 56 u32 pods, 60 u32 size of one, 64 u64 offset
//	      72 u32 slots of services (a power of two), 76 u32 size of one, 80 u64 offset
//	      88 u64 offset of the policies, 96 u64 size of all · 104 u64 created (CLOCK_MONOTONIC, ns)
//	      112 16 bytes: the boot's id, for that clock begins anew with each; zeros: not known
//	      128 u32 state: 0 building, 1 live, 2 retired · 136 u64 end of the lease (CLOCK_MONOTONIC, ns; all ones: none)
//	      144 u32 flags: 1 requests with a sampled traceparent take the callout, 2 those without one do, too
//	      148 u32 slots of addresses (a power of two), 152 u64 their offset
//	 256  counters: 8 stripes (by thread) of 16 u64, see [Table.Results]
//	2048  readers: 64 × { u32 pid, 0 is free · u32 generation · u64 heartbeat (CLOCK_MONOTONIC, ns, each second or more often) }
//	   .  pods, 4096 bytes each
//	      0 u32 sequence · 4 u32 state: 1 serves · 8 u32 idle timeout in units of 250 ms, 0 none · 12 u32 generation
//	      16 u16 length of the address · 18 u16 length of the name · 20 address as Envoy writes it · 64 name
//	      384 u32 in flight [64 readers] · 640 u64 requests [10 methods][7 classes of status] · 1200 u64 ns of all requests
//	      1208 u64 ns of those of sessions to the response headers · 1216 u64 aborted · 1224 u64 misroutes
//	      1232 u64 their number · 1240 u64 ns of those without a session to them · 1248 u32 number of the service
//	      1280 u32 requests by their duration [256] · 2304 u32 by the time to the response headers [256], see [Bounds]
//	      3328 u64 requests without a session, as those at 640, which they are none of
//	   .  addresses, 4 bytes each, by linear probing from the hash of the service's number and a pod's address: u32 pod + 1, 0 is empty
//	   .  services, 64 bytes each, by linear probing from the name's hash
//	      0 u64 hash, 0 is empty · 8 u32 sequence · 12 u32 length of the policy, 0 is none · 16 u64 its offset · 24 u64 its version
//	   .  buckets, 64 bytes each, one cache line
//	      0 u32 sequence · 4 3 × 12 bytes of hash · 40 3 × u32 pod + 1, 0 is empty
//	      52 3 × u32 use: when in units of 250 ms since created, modulo 2^16, in the upper half, how often in the lower
//	   .  policies, each as [Table.SetService] compiles it, immutable while a slot names it
//
// Version is the version of all of it, policies included: a reader of another version
// takes the callout for everything. New fields of the same version are where zero means
// what it meant before.
//
// # Sizes
//
// There are 24 bytes of buckets for each binding of the capacity: 64 bytes hold three, and
// at capacity eight of nine places are taken. A binding is in one of two buckets that its
// hash names; where both are full, others are moved to their own second one. See
// design/fast-path.md for how many find no place. A session longer ago than 2 h 16 min, half
// of what 16 bits tell apart, is not answered for, and is taken out by [Table.Harvest].
//
// # Memory order
//
// A bucket, the identity of a pod and a service's slot have a sequence number each. The
// writer makes it odd, writes, and makes it even again, each of these a sequentially
// consistent store. A reader loads the number (acquire), the words it needs (relaxed), and,
// after an acquire fence, the number again; what it read counts only if both are the same
// and even. It tries 32 times at most. A writer that dies in between leaves one bucket odd,
// whose sessions take the callout.
//
// A binding that is moved to its other bucket is there before it is gone here; a reader
// looks into the first, the second, and the first again. A policy's bytes may be used anew
// once no slot names it: a reader copies them, and then finds its slot unchanged.
//
// An address is moved while readers look, who then may not find its pod; one that they find is right.
//
// Readers write: counters and histograms (atomic adds), their row of readers, and
// the uses of a binding, by compare-and-swap after a look at the sequence number. One that
// loses a race with the writer has another session be used once more, which harms nobody.
package fastpath
