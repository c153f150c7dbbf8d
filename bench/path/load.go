package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// job is a load on one address.
type job struct {
	address     string
	protocol    int
	concurrency int
	requests    []request                      // session s sends the s-th of them, in turn
	next        func(*rand.Rand) (int64, bool) // the session that asks next; false: no more
	owners      *owners                        // nil: any pod is right
	time        time.Duration                  // 0: until next says no
}

// outcome is what came of it.
type outcome struct {
	failed, wrong int
	took          []time.Duration // of the answered ones, sorted
	elapsed       time.Duration
	problem       error // one of those why a request failed
}

// giveUp is how many failed requests end a job.
const giveUp = 1000

// hung is how long an answer may take.
const hung = 30 * time.Second

// worker is one goroutine of a load.
type worker struct {
	*job
	outcome
	rng      *rand.Rand
	patterns []pattern
	stop     *atomic.Bool
}

// streams are those of one HTTP/2 connection: a few busy ones, as a proxy before us has.
const streams = 16

func (j *job) run(ctx context.Context) (outcome, error) {
	var stop atomic.Bool
	if j.time > 0 {
		timer := time.AfterFunc(j.time, func() { stop.Store(true) })
		defer timer.Stop()
	}
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	patterns := compile(j.requests, j.protocol)
	share := 1 // of each worker
	if j.protocol == 2 {
		share = min(j.concurrency, streams)
	}
	workers := make([]*worker, (j.concurrency+share-1)/share)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range workers {
		w := &worker{job: j, rng: rand.New(rand.NewPCG(uint64(i), uint64(began.UnixNano()))), stop: &stop} //nolint:gosec // no secret
		for _, t := range patterns {
			w.patterns = append(w.patterns, t.clone())
		}
		workers[i] = w
		wg.Go(func() {
			if j.protocol == 2 {
				w.http2(min(share, j.concurrency-i*share))
			} else {
				w.http1()
			}
		})
	}
	wg.Wait()
	out := outcome{elapsed: time.Since(began)}
	for _, w := range workers {
		out.failed += w.failed
		out.wrong += w.wrong
		out.took = append(out.took, w.took...)
		out.problem = errors.Join(out.problem, w.problem)
	}
	slices.Sort(out.took)
	if err := ctx.Err(); err != nil {
		return out, err
	}
	if out.failed >= giveUp || len(out.took) == 0 {
		return out, fmt.Errorf("%d requests answered, %d failed: %w", len(out.took), out.failed, out.problem)
	}
	return out, nil
}

// open reports the next session, unless it is time to end.
func (w *worker) open() (int64, bool) {
	if w.stop.Load() || w.failed >= giveUp {
		return 0, false
	}
	return w.next(w.rng)
}

// sent is a request under way.
type sent struct {
	session int64
	at      time.Time
	was     owned
}

func (w *worker) begin(session int64) (sent, []byte) {
	s := sent{session: session}
	if w.owners != nil {
		s.was = w.owners.before(session)
	}
	bytes := w.patterns[int(session)%len(w.patterns)].of(session)
	s.at = time.Now()
	return s, bytes
}

// end takes an answer's body.
func (w *worker) end(s sent, body []byte) {
	took := time.Since(s.at)
	pod, ok := podOf(body)
	if !ok {
		w.fail(fmt.Errorf("no pod's answer: %.80q", body))
		return
	}
	w.took = append(w.took, took)
	if w.owners != nil && w.owners.wrong(s.session, s.was, pod) {
		w.wrong++
	}
}

func (w *worker) fail(err error) {
	w.failed++
	w.problem = err
}

func dial(address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", address)
}

// known picks any of n sessions; each has all of them once; fresh has ever new ones.
func known(n int) func(*rand.Rand) (int64, bool) {
	return func(r *rand.Rand) (int64, bool) { return r.Int64N(int64(n)), true }
}

func each(n int) func(*rand.Rand) (int64, bool) {
	var at atomic.Int64
	return func(*rand.Rand) (int64, bool) {
		i := at.Add(1) - 1
		return i, i < int64(n)
	}
}

func fresh(at *atomic.Int64) func(*rand.Rand) (int64, bool) {
	return func(*rand.Rand) (int64, bool) { return firstNew + at.Add(1), true }
}
