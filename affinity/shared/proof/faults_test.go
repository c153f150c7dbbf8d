package proof_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The kinds of faults.
const (
	killReplica  = "replica killed"
	stopShort    = "replica stopped within its lease"
	stopLong     = "replica stopped beyond its lease"
	stepReplica  = "replica's wall clock set"
	hold         = "link held"
	holdOneWay   = "link held one way"
	drop         = "link drops"
	dropOneWay   = "link drops one way"
	slow         = "link delays"
	cutLink      = "link cut"
	isolate      = "all links held"
	cutOffOver   = "link held over a store's restart"
	podLost      = "pod lost"
	pauseStore   = "store stopped"
	restartStore = "store restarted, nothing lost"
	stepStore    = "store's clock set"
	emptyStore   = "store restarted empty"
	olderStore   = "store restarted with an older dump"
	flushStore   = "store flushed"
	failover     = "failover to a standby behind"
)

// fault is one that strikes.
type fault struct {
	kind   string
	at     float64 // of the schedule's length
	target int     // replica or pod
	lasts  time.Duration
	delay  time.Duration
	step   time.Duration
	lags   [replicas]time.Duration
	way    int
}

func onStore(kind string) bool {
	return strings.HasPrefix(kind, "store") || kind == failover || kind == cutOffOver
}

// drawFaults draws what happens in a schedule.
func drawFaults(rng *rand.Rand, r *run) []fault {
	kinds := []string{
		killReplica, killReplica, stopShort, stopLong, stopLong, stepReplica, hold, hold, holdOneWay, holdOneWay,
		drop, dropOneWay, slow, cutLink, isolate, podLost, podLost, podLost, pauseStore,
	}
	if clockLibrary() != "" {
		kinds = append(kinds, stepStore)
	}
	kinds = append(kinds, cutOffOver, cutOffOver)
	if r.aof {
		kinds = append(kinds, restartStore, restartStore)
	}
	if r.lossy {
		kinds = append(kinds, emptyStore, olderStore, flushStore, emptyStore, olderStore, flushStore, failover)
	}
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return slices.Contains(r.without, k) })
	var out []fault
	for range 1 + rng.IntN(6) {
		f := fault{
			kind: kinds[rng.IntN(len(kinds))], at: rng.Float64() * 0.9, target: rng.IntN(replicas),
			lasts: time.Duration(rng.Int64N(int64(3 * lease))), delay: time.Duration(rng.Int64N(int64(100 * time.Millisecond))),
			way: rng.IntN(2),
		}
		switch f.kind {
		case stopShort:
			f.lasts = time.Duration(rng.Int64N(int64(lease * 8 / 10)))
		case stopLong:
			f.lasts = lease + time.Duration(rng.Int64N(int64(2*lease)))
		case podLost:
			f.target = rng.IntN(pods)
		case stepStore:
			f.step = time.Duration(1+rng.IntN(40)) * time.Second
			if r.lossy && rng.IntN(2) == 0 {
				f.step = time.Duration(rng.IntN(7200)) * time.Second
			}
			if rng.IntN(2) == 0 {
				f.step = -f.step
			}
		case stepReplica:
			f.step = time.Duration(rng.IntN(7200)-3600) * time.Second
		}
		for i := range f.lags {
			f.lags[i] = time.Duration(rng.Int64N(int64(200 * time.Millisecond)))
			if rng.IntN(4) == 0 {
				f.lags[i] = -1 // this replica does not find it lost
			}
		}
		if f.kind == failover && slices.ContainsFunc(out, func(g fault) bool { return g.kind == failover }) {
			continue // there is one spare
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
	return out
}

// strike has the faults happen, those of one target one after the other.
func (r *run) strike(faults []fault, length time.Duration) {
	began := time.Now()
	by := map[string][]fault{}
	for _, f := range faults {
		place := "replica " + podName(f.target)
		switch {
		case onStore(f.kind):
			place = "store"
		case f.kind == isolate:
			place = "links"
		case f.kind == podLost:
			place = podName(f.target)
		}
		by[place] = append(by[place], f)
	}
	var all sync.WaitGroup
	for _, these := range by {
		all.Go(func() {
			for _, f := range these {
				time.Sleep(time.Until(began.Add(time.Duration(f.at * float64(length)))))
				r.mu.Lock()
				r.faults[f.kind]++
				r.mu.Unlock()
				if onStore(f.kind) {
					r.strikeStore(f)
				} else {
					r.strikeOne(f)
				}
			}
		})
	}
	all.Wait()
	time.Sleep(time.Until(began.Add(length)))
}

func (r *run) strikeOne(f fault) {
	s := r.slots[f.target%replicas]
	switch f.kind {
	case killReplica:
		s.mu.Lock()
		c := s.now
		s.now = nil
		s.mu.Unlock()
		c.kill()
		time.Sleep(f.lasts / 4)
		r.start(f.target)
	case stopShort, stopLong:
		c := s.child()
		c.signal(syscall.SIGSTOP)
		time.Sleep(f.lasts)
		c.signal(syscall.SIGCONT)
	case stepReplica:
		s.child().do(command{Op: opStep, Step: int64(f.step / time.Second)})
	case hold:
		s.link.set(toStore, way{held: true})
		s.link.set(toReplica, way{held: true})
		time.Sleep(f.lasts)
		s.link.heal()
	case holdOneWay:
		s.link.set(f.way, way{held: true})
		time.Sleep(f.lasts)
		s.link.heal()
	case drop:
		s.link.set(toStore, way{lost: true})
		s.link.set(toReplica, way{lost: true})
		time.Sleep(f.lasts)
		s.link.heal()
	case dropOneWay:
		s.link.set(f.way, way{lost: true})
		time.Sleep(f.lasts)
		s.link.heal()
	case slow:
		s.link.set(toStore, way{delay: f.delay})
		s.link.set(toReplica, way{delay: f.delay / 2})
		time.Sleep(f.lasts)
		s.link.heal()
	case cutLink:
		s.link.cut()
	case isolate:
		for _, s := range r.slots {
			s.link.set(toStore, way{held: true})
		}
		time.Sleep(f.lasts)
		for _, s := range r.slots {
			s.link.heal()
		}
	case podLost:
		var all sync.WaitGroup
		for i, lag := range f.lags {
			if lag < 0 {
				continue
			}
			all.Go(func() {
				time.Sleep(lag)
				r.lose(i, podName(f.target))
				time.Sleep(f.lasts)
				r.serve(i, podName(f.target))
			})
		}
		all.Wait()
	}
}

// lose has a replica find a pod lost.
func (r *run) lose(i int, pod string) {
	r.mu.Lock()
	if r.lostPods[pod] == 0 {
		r.lostPods[pod] = monotonicNow()
	}
	r.mu.Unlock()
	s := r.slots[i]
	s.pods.Lock()
	defer s.pods.Unlock()
	s.mu.Lock()
	s.lost[pod] = true
	c := s.now
	s.mu.Unlock()
	if c != nil {
		c.do(command{Op: opLose, Pod: pod})
	}
}

// serve has it find that the pod serves.
func (r *run) serve(i int, pod string) {
	s := r.slots[i]
	s.pods.Lock()
	defer s.pods.Unlock()
	s.mu.Lock()
	was := s.lost[pod]
	delete(s.lost, pod)
	c := s.now
	s.mu.Unlock()
	if c != nil && was {
		c.do(command{Op: opServe, Pod: pod})
	}
}

// losing notes that the store is about to lose data.
func (r *run) losing() {
	was := strings.TrimPrefix(r.store.do(`EVAL "return redis.status_reply(redis.call('HGET', KEYS[1], 'id') or '')" 1 {`+prefix+`}store`), "+")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses = append(r.losses, loss{monotonicNow(), was})
}

// away has no link lead to the store.
func (r *run) away() {
	for _, s := range r.slots {
		s.link.point("")
	}
}

func (r *run) back() {
	for _, s := range r.slots {
		s.link.point(r.store.socket)
	}
}

func (r *run) strikeStore(f fault) {
	switch f.kind {
	case pauseStore:
		r.store.Stop()
		time.Sleep(f.lasts)
		r.store.Continue()
	case restartStore:
		r.store.Kill()
		r.away()
		time.Sleep(f.lasts / 3)
		r.store.Restart()
		r.back()
	case cutOffOver:
		s := r.slots[f.target]
		s.link.set(toStore, way{held: true})
		s.link.set(toReplica, way{held: true})
		time.Sleep(lease + f.delay)
		switch {
		case r.aof:
			r.store.Kill()
			for i, other := range r.slots {
				if i != f.target {
					other.link.cut()
				}
			}
			r.store.Restart()
		case r.lossy:
			r.losing()
			r.store.do("FLUSHALL")
		default:
			r.store.Stop() // the time that passes looks like a clock that was set
			time.Sleep(5 * lease / 2)
			r.store.Continue()
		}
		time.Sleep(2*lease + f.delay)
		s.link.heal()
	case stepStore:
		if r.ahead+f.step >= idle || f.step >= idle {
			r.losing() // sessions expire
		}
		r.ahead += f.step
		r.store.setClock(r.ahead)
	case emptyStore:
		r.losing()
		r.store.Kill()
		r.away()
		r.store.forgetDump()
		time.Sleep(f.lasts / 3)
		r.store.Restart()
		r.back()
	case olderStore:
		r.losing()
		r.store.do("SAVE")
		time.Sleep(f.delay * 4)
		r.losing()
		r.store.Kill()
		r.away()
		time.Sleep(f.lasts / 3)
		r.store.Restart()
		r.back()
	case flushStore:
		r.losing()
		r.store.do("FLUSHALL")
	case failover:
		r.losing()
		r.spare.do("REPLICAOF NO ONE")
		time.Sleep(f.delay * 4)
		r.away()
		r.losing()
		r.store.Kill()
		time.Sleep(f.lasts / 3)
		r.spare.setClock(r.ahead)
		r.store, r.spare = r.spare, r.store
		r.back()
	}
}

// replicate has the spare server be the store's standby, and returns when it is.
func (r *run) replicate() {
	host, port, _ := strings.Cut(r.store.Addr(), ":")
	r.spare.do("REPLICAOF " + host + " " + port)
	for deadline := time.Now().Add(patience); r.spare.Info("replication", "master_link_status") != "up"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("the standby does not follow")
		}
	}
}
