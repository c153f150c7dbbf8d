package fastpath_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/fastpathtest"
	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

var hunted = flag.Int64("hunt.reads", 400_000, "how many reads TestNoReadIsTorn makes while entries are written")

// hunt is a table that is written all the time: its sessions are published, moved between two
// pods of their own, and withdrawn, while they displace each other.
type hunt struct {
	table *fastpath.Table
	path  string
	reads atomic.Int64
	done  atomic.Bool
	torn  atomic.Int64 // reads that had to be made again
	hits  atomic.Int64
}

const huntSessions = 400

func huntKey(i int) string { return fmt.Sprintf("session-%03d", i) }

// huntPod is one of the three pods; a session is only ever bound to two of them.
func huntPod(i, turn int) string { return fmt.Sprint("chat-", (i+turn%2)%3) }

// write makes changes until the reads are done, and says how many.
func (h *hunt) write() (changes int) {
	for turn := 0; !h.done.Load(); turn++ {
		for i := range huntSessions {
			switch (turn*7 + i*3) % 5 {
			case 0:
				h.table.Withdraw("chat", huntKey(i))
			case 1:
				h.table.TakeUse("chat", huntKey(i))
			default:
				h.table.Publish("chat", huntKey(i), huntPod(i, turn), 0, 0)
			}
			changes++
		}
	}
	return changes
}

// read looks sessions up; each is at a pod of its own, or takes the callout.
func (h *hunt) read(t *testing.T, pid uint32) {
	later := fastpath.Monotonic() + time.Hour // a clock that costs nothing, by which no session is idle yet
	r, err := fastpathtest.Open(h.path, pid, func() time.Duration { return later })
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	var hashes [huntSessions]layout.Hash
	for i := range hashes {
		hashes[i] = r.Hash("chat", huntKey(i))
	}
	hits := int64(0)
	for h.reads.Add(huntSessions) < *hunted {
		for i, hash := range hashes {
			a := r.LookupHash(hash)
			if a.Result == "hit" {
				hits++
			}
			if a.Result == "hit" && (a.Pod != huntPod(i, 0) && a.Pod != huntPod(i, 1) || a.Address != addresses[a.Pod].String()) ||
				a.Result != "hit" && a.Result != "unknown" && a.Result != "busy" {
				t.Errorf("session %d: %+v", i, a)
			}
		}
	}
	h.torn.Add(int64(r.Torn))
	h.hits.Add(hits)
}

// No reader, in mappings of its own, ever sees a session at a pod that it never was at.
// A long hunt: go test ./fastpath -run TestNoReadIsTorn -hunt.reads 1000000000
func TestNoReadIsTorn(t *testing.T) {
	h := &hunt{path: filepath.Join(t.TempDir(), "table")}
	// Hashes fill most buckets, so that displacement goes on all the time.
	h.table = create(t, fastpath.Options{Path: h.path, Capacity: huntSessions})
	activate(t, h.table)
	changes, began := 0, time.Now()
	var writer, readers sync.WaitGroup
	writer.Go(func() { changes = h.write() })
	for i := range 2 {
		readers.Go(func() { h.read(t, uint32(os.Getpid()+i)) })
	}
	readers.Wait()
	h.done.Store(true)
	writer.Wait()
	took := time.Since(began)
	t.Logf("%d reads (%d hits, %d made again), %d changes in %v: %.0f reads/s, %.0f changes/s",
		h.reads.Load(), h.hits.Load(), h.torn.Load(), changes, took.Round(time.Millisecond),
		float64(h.reads.Load())/took.Seconds(), float64(changes)/took.Seconds())
	if h.hits.Load() == 0 || changes == 0 {
		t.Error("nothing was hunted")
	}
}
