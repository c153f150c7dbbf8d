package fastpath

import (
	"time"

	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// sweepWithin is how long it takes to look at all buckets: well below the two hours after
// which a session that is too old would look new.
const sweepWithin = 30 * time.Minute

// sweep is how far the search for sessions that were not used for long has come.
type sweep struct {
	at   time.Duration // when it was there
	next uint64        // bucket
}

// sweepOld takes sessions out that were not used for so long that the table soon could not
// tell, in as many buckets as are due.
func (t *Table) sweepOld() {
	n, now := t.places.nBuckets, t.now()
	each := max(sweepWithin/time.Duration(n), 1)
	due := uint64(max(now-t.swept.at, 0) / each)
	t.swept.at += time.Duration(due) * each
	for range min(due, n) {
		t.sweepBucket(t.places.buckets + t.swept.next*layout.BucketSize)
		t.swept.next = (t.swept.next + 1) % n
	}
}

func (t *Table) sweepBucket(bucket uint64) {
	for i := range uint64(layout.BucketEntries) {
		e := entry{bucket, i}
		use := t.mem.Load32(e.use())
		if t.mem.Load32(e.pod()) != 0 && use&0xffff == 0 && t.ageOf(use)/layout.UseUnit >= maxUnits {
			t.put(e, layout.Hash{}, 0, 0)
		}
	}
}
