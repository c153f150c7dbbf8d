package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// changes are claims of new sessions and moves of known ones, by turns, through extproc's admin
// API while a load asks for the known ones.
type changes struct {
	stop   atomic.Bool
	wg     sync.WaitGroup
	done   atomic.Int64
	failed atomic.Int64
}

// changers are the connections of the changes.
const changers = 4

// change begins so many changes a second.
func (f *front) change(rate, pods int) (*changes, error) {
	c := &changes{}
	for i := range changers {
		conn, err := dial1(f.admin)
		if err != nil {
			c.end()
			return nil, err
		}
		c.wg.Go(func() {
			defer func() { _ = conn.Close() }()
			c.run(f, conn, rand.New(rand.NewPCG(uint64(i), uint64(time.Now().UnixNano()))), time.Second*changers/time.Duration(rate), pods) //nolint:gosec // no secret
		})
	}
	return c, nil
}

// end waits for what is under way.
func (c *changes) end() {
	c.stop.Store(true)
	c.wg.Wait()
}

func (c *changes) run(f *front, conn *conn1, rng *rand.Rand, pause time.Duration, pods int) {
	due := time.Now()
	for n := 0; !c.stop.Load(); n++ {
		due = due.Add(pause)
		time.Sleep(time.Until(due))
		session, to, done := firstNew+f.fresh.Add(1), rng.IntN(pods), func() {}
		if n%2 == 1 {
			session = rng.Int64N(int64(len(f.owners.words)))
			var ok bool
			if to, done, ok = f.owners.move(session, pods); !ok {
				continue
			}
		}
		status, _, err := conn.ask(put(f.admin, session, to))
		if err != nil || status != 200 {
			c.failed.Add(1) // a move stays under way: either pod is right
			if err != nil {
				return
			}
			continue
		}
		done()
		c.done.Add(1)
	}
}

// put is the request of one change.
func put(admin string, session int64, pod int) []byte {
	body := fmt.Sprintf(`{"pod":"%s%d"}`, podPrefix, pod)
	return fmt.Appendf(nil, "PUT /api/v1/sessions/chat/%s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
		key(session), admin, len(body), body)
}

// count is how many have been made; none are where there are no changes.
func (c *changes) count() int64 {
	if c == nil {
		return 0
	}
	return c.done.Load()
}

// failures is how many were refused or lost.
func (c *changes) failures() int {
	if c == nil {
		return 0
	}
	return int(c.failed.Load())
}
