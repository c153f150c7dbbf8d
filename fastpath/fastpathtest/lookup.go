package fastpathtest

import (
	"encoding/binary"
	"time"

	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// As in the module: sessions longer ago are not answered for, and those a little ahead of our
// own clock were used just now.
const (
	maxUnits = 1 << 15
	maxAhead = 4
)

// found is an entry as it was read.
type found struct {
	bucket, index uint64
	seq           uint32
	pod, use      uint32
}

// Lookup answers for a session as the module does, and has it be used.
func (r *Reader) Lookup(service, key string) Answer {
	if why, live := r.Live(); !live {
		return Answer{Result: why}
	}
	policy := r.Policy(service)
	if policy == nil {
		return Answer{Result: "policy"}
	}
	number := binary.LittleEndian.Uint32(policy[4:])
	return r.LookupHash(layout.SessionHash(r.hashKey, number, key))
}

// Holds reports whether a session is in the table, of which it changes nothing.
func (r *Reader) Holds(service, key string) bool {
	_, result := r.find(r.Hash(service, key))
	return result == "hit"
}

// LookupHash is Lookup for a hash, whatever the state of the table.
func (r *Reader) LookupHash(h layout.Hash) Answer {
	e, result := r.find(h)
	if result != "hit" {
		return Answer{Result: result}
	}
	a, idle := r.pod(uint64(e.pod) - 1)
	if a.Result != "hit" {
		return a
	}
	age := (r.units() - e.use>>16) & 0xffff
	if age > 0xffff-maxAhead {
		age = 0
	}
	if age >= maxUnits || idle != 0 && age > idle {
		return Answer{Result: "idle"}
	}
	r.mark(e)
	return a
}

// Hash is what the table knows a session of a service by that is set.
func (r *Reader) Hash(service, key string) layout.Hash {
	return layout.SessionHash(r.hashKey, binary.LittleEndian.Uint32(r.Policy(service)[4:]), key)
}

// find looks into the first bucket, the second, and the first again: between the two, an
// entry may have moved from the second.
func (r *Reader) find(h layout.Hash) (e found, result string) {
	b := h.Buckets(r.nBuckets)
	for _, bucket := range []uint64{b[0], b[1], b[0]} {
		if e, result = r.inBucket(r.buckets+bucket*layout.BucketSize, h); result != "unknown" {
			return e, result
		}
	}
	return e, result
}

func (r *Reader) inBucket(bucket uint64, h layout.Hash) (found, string) {
	for range layout.ReadTries {
		e := found{bucket: bucket, seq: r.mem.Load32(bucket + layout.BucketSeq)}
		for i := range uint64(layout.BucketEntries) {
			at := bucket + layout.BucketHashes + 12*i
			hash := layout.Hash{A: uint64(r.mem.Load32(at)) | uint64(r.mem.Load32(at+4))<<32, B: r.mem.Load32(at + 8)}
			if pod := r.mem.Load32(bucket + layout.BucketPods + 4*i); pod != 0 && hash == h {
				e.index, e.pod, e.use = i, pod, r.mem.Load32(bucket+layout.BucketUses+4*i)
				break
			}
		}
		if e.seq&1 != 0 || r.mem.Load32(bucket+layout.BucketSeq) != e.seq {
			r.Torn++
			continue
		}
		if e.pod == 0 {
			return e, "unknown"
		}
		return e, "hit"
	}
	return found{}, "busy"
}

func (r *Reader) units() uint32 { return uint32((r.now()-r.created)/layout.UseUnit) & 0xffff }

func (r *Reader) mark(e found) {
	at := e.bucket + layout.BucketUses + 4*e.index
	for old := e.use; r.mem.Load32(e.bucket+layout.BucketSeq) == e.seq; old = r.mem.Load32(at) {
		if r.mem.CompareAndSwap32(at, old, r.units()<<16|min(old&0xffff+1, 0xffff)) {
			return
		}
	}
}

// pod reads what identifies a pod.
func (r *Reader) pod(i uint64) (a Answer, idle uint32) {
	if i >= r.nPods {
		return Answer{Result: "pod"}, 0
	}
	at := r.pods + i*layout.PodSize
	serving := false
	whole := r.mem.Read(at+layout.PodSeq, func() {
		lengths := r.mem.Load32(at + layout.PodAddressLen)
		a = Answer{
			Result:  "hit",
			Pod:     string(r.mem.LoadBytes(at+layout.PodName, min(int(lengths>>16), layout.MaxPodName))),
			Address: string(r.mem.LoadBytes(at+layout.PodAddress, min(int(lengths&0xffff), layout.MaxAddress))),
			pod:     at,
		}
		idle = r.mem.Load32(at + layout.PodIdle)
		serving = r.mem.Load32(at+layout.PodState)&layout.Serving != 0
	})
	switch {
	case !whole:
		return Answer{Result: "busy"}, 0
	case !serving:
		return Answer{Result: "pod"}, 0
	}
	return a, idle
}

// Begin counts a request that was answered for as being in flight.
func (r *Reader) Begin(a Answer) { r.mem.Add32(a.pod+layout.PodInFlight+4*r.slot, 1) }

// End counts its end: the method and class of status by their index, as package fastpath
// names them, and its times.
func (r *Reader) End(a Answer, method, class int, response, duration time.Duration) {
	m, at := r.mem, a.pod
	m.Add32(at+layout.PodInFlight+4*r.slot, ^uint32(0))
	m.Add64(at+layout.PodRequests+8*uint64(method*layout.Classes+class), 1)
	m.Add64(at+layout.PodDurationSum, uint64(duration))
	m.Add64(at+layout.PodResponseSum, uint64(response))
	m.Add64(at+layout.PodResponses, 1)
	m.Add32(at+layout.PodDurationHist+4*uint64(fastpath.BucketOf(duration)), 1)
	m.Add32(at+layout.PodResponseHist+4*uint64(fastpath.BucketOf(response)), 1)
}

// Count counts what came of a request, as the thread of that number.
func (r *Reader) Count(thread int, result string) {
	for i, name := range layout.Results() {
		if name == result {
			r.mem.Add64(layout.OffCounters+uint64(thread%layout.Stripes)*layout.StripeSize+8*uint64(i), 1)
		}
	}
}
