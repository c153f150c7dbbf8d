package proof_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	replicas = 3
	// sessions of a schedule: a few that are always in use, and more that seldom are.
	busy     = 5
	sessions = busy + 25
	pods     = 4
	// clients are those of each replica.
	clients = 3
	// restPause bounds how long a client rests between two operations.
	restPause = 6 * time.Millisecond
	// patience bounds how long replicas may take until they answer when all faults are over.
	patience = 30 * time.Second
)

// plan is what is fixed of a schedule before its seed is asked.
type plan struct {
	allow   bool
	breaks  breakage
	hide    bool     // what is violated is not written down
	without []string // kinds of faults that do not happen
}

// run is one schedule as it runs.
type run struct {
	t    *testing.T
	seed int64
	plan
	lossy bool // the store may lose data
	aof   bool // or keep all over a restart
	store *server
	spare *server // replicates the store, where there is a failover
	slots [replicas]*slot
	over  chan struct{}
	log   lockedBuffer

	mu          sync.Mutex
	history     []operation
	records     []record
	losses      []loss
	lostPods    map[string]int64 // since when, first
	faults      map[string]int
	ahead       time.Duration // the store's clock
	generation  int
	conflicts   uint64
	conflictsOf map[string]uint64 // of the replicas that are left at the end
}

// operation is one on a session, with what became of it.
type operation struct {
	key       string
	client    int
	replica   string
	in        input
	out       answer
	call, ret int64
}

// loss is that the store may have lost data.
type loss struct {
	at  int64
	was string // the incarnation
}

// slot is the place of a replica: one process after the other.
type slot struct {
	link *link
	mu   sync.Mutex
	now  *child // nil while it is down
	lost map[string]bool
	pods sync.Mutex // one tells the process of pods at a time
}

func (s *slot) child() *child {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// runSchedule runs the schedule of a seed.
func runSchedule(t *testing.T, seed int64, p plan) *run {
	t.Helper()
	r := &run{t: t, seed: seed, plan: p, over: make(chan struct{}), lostPods: map[string]int64{}, faults: map[string]int{},
		conflictsOf: map[string]uint64{}}
	rng := rand.New(rand.NewPCG(uint64(seed), 1)) //nolint:gosec // a seed that repeats it is the point
	r.lossy = rng.IntN(5) < 2 && !slices.Contains(p.without, "loss")
	r.aof = !r.lossy && rng.IntN(2) == 0
	faults := drawFaults(rng, r)
	r.store = startServer(t, r.aof)
	if slices.ContainsFunc(faults, func(f fault) bool { return f.kind == failover }) {
		r.spare = startServer(t, false)
		r.replicate()
	}
	for i := range r.slots {
		r.slots[i] = &slot{link: newLink(t), lost: map[string]bool{}}
		r.slots[i].link.point(r.store.socket)
		r.start(i)
	}
	defer r.end()
	r.awaitAll("at the beginning")
	if t.Failed() {
		return r
	}
	length := time.Duration(1000+rng.IntN(800)) * time.Millisecond
	var work sync.WaitGroup
	for i := range r.slots {
		for c := range clients {
			client := rand.New(rand.NewPCG(uint64(seed), uint64(100+10*i+c))) //nolint:gosec // as above
			work.Go(func() { r.client(client, i, i*clients+c) })
		}
	}
	r.strike(faults, length)
	close(r.over)
	r.heal()
	work.Wait()
	r.awaitAll("when all faults are over")
	r.awaitAsked()
	r.readAll()
	return r
}

// start starts a slot's replica, the process having another name each time.
func (r *run) start(i int) {
	r.mu.Lock()
	r.generation++
	name := fmt.Sprintf("%c%d", 'a'+i, r.generation)
	r.mu.Unlock()
	c := startChild(r.t, settings{Name: name, Store: r.slots[i].link.addr(), Allow: r.allow, Break: r.breaks}, &r.log, r.note)
	s := r.slots[i]
	s.pods.Lock()
	defer s.pods.Unlock()
	s.mu.Lock()
	lost := slices.Collect(maps.Keys(s.lost))
	s.now = c
	s.mu.Unlock()
	for _, pod := range lost {
		c.do(command{Op: opLose, Pod: pod})
	}
}

func (r *run) note(replica string, rec record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec.Replica = replica
	r.records = append(r.records, rec)
}

// end ends all processes.
func (r *run) end() {
	for _, s := range r.slots {
		if c := s.child(); c != nil {
			if a, ok := c.do(command{Op: opState}); ok {
				r.conflicts += a.Conflicts
				r.conflictsOf[c.Name] = a.Conflicts
			}
			c.kill()
		}
		s.link.close()
	}
	r.store.Kill()
	if r.spare != nil {
		r.spare.Kill()
	}
}

// heal ends all faults.
func (r *run) heal() {
	for i, s := range r.slots {
		s.link.heal()
		if c := s.child(); c != nil {
			c.signal(syscall.SIGCONT)
		} else {
			r.start(i)
		}
	}
	for p := range pods {
		for i := range r.slots {
			r.serve(i, podName(p))
		}
	}
}

// awaitAll waits until all replicas have a lease and the store takes changes.
func (r *run) awaitAll(when string) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for i, s := range r.slots {
		for {
			a, ok := s.child().do(command{Op: opRequest, Key: "probe", Pod: podName(0)})
			if ok && a.How != howRefused && a.How != howUnknown && a.How != howUnleased {
				break
			}
			if time.Now().After(deadline) {
				r.t.Errorf("seed %d: replica %d does not answer %s: %+v\n%s", r.seed, i, when, a, r.log.String())
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func podName(i int) string { return string(append([]byte("pod-"), '0'+byte(i))) } // one digit

func podNumber(name string) int { return int(name[len(name)-1] - '0') }

func keyName(i int) string { return fmt.Sprintf("s-%d", i) }
func (r *run) done() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

// client sends operations to one replica until the faults are over.
func (r *run) client(rng *rand.Rand, i, id int) {
	last := map[string]answer{}
	for !r.done() {
		time.Sleep(time.Duration(rng.Int64N(int64(restPause))))
		key, pod := keyName(rng.IntN(busy)), podName(rng.IntN(pods))
		changes := 200
		if rng.IntN(5) == 0 {
			key, changes = keyName(busy+rng.IntN(sessions-busy)), 40
		}
		cmd := command{Op: opRequest, Key: key, Pod: pod}
		switch n := rng.IntN(changes); {
		case n < 7:
			cmd.Op = opMove
		case n < 11:
			cmd.Op, cmd.Pod = opDelete, ""
		case n < 12:
			if a, ok := last[key]; ok && !a.unasked() {
				cmd.Op, cmd.Pod, cmd.Epoch = opEnd, a.Pod, a.Epoch
			}
		}
		if a, ok := r.operate(i, id, cmd); ok && a.Pod != "" {
			last[key] = a
		}
	}
}

// operate has a replica do something to a session, and writes it down.
func (r *run) operate(i, client int, cmd command) (answer, bool) {
	c := r.slots[i].child()
	if c == nil {
		return answer{}, false
	}
	call := monotonicNow()
	a, ok := c.do(cmd)
	if !ok {
		return a, false
	}
	op := operation{
		key: cmd.Key, client: client, replica: c.Name, out: a, call: call, ret: a.Ended,
		in: input{op: cmd.Op, pod: cmd.Pod, epoch: cmd.Epoch},
	}
	if a.Began > 0 {
		op.call = a.Began
	}
	if cmd.Op == opEnd && a.How == howDone {
		op.out.How = howUnknown // begun; End need not wait until it is done
	}
	if op.out.How == howUnknown {
		op.ret = op.call // what it does it may do at any time from then on
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	op.in.lost = slices.Collect(maps.Keys(r.lostPods))
	if a.How == howRebound && r.lostPods[a.From] == 0 {
		r.t.Errorf("seed %d: %s rebound %s from %s, which nobody found lost", r.seed, c.Name, cmd.Key, a.From)
	}
	r.history = append(r.history, op)
	for _, made := range a.Also {
		op.out = made
		if op.ret = a.Ended; made.How == howUnknown {
			op.ret = op.call
		}
		r.history = append(r.history, op)
	}
	return a, true
}

// awaitAsked waits until the replicas that are left have asked about all that they could ask
// nobody about.
func (r *run) awaitAsked() {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, found := r.notAsked(); !found {
			return
		}
	}
	op, _ := r.notAsked()
	r.t.Errorf("seed %d: %s has not asked about %s, of which it could ask nobody: %+v\n%s", r.seed, op.replica, op.key, op, r.log.String())
}

// notAsked is an answer without a lease that a replica that is left has not asked about.
func (r *run) notAsked() (op operation, found bool) {
	type place struct{ replica, key string }
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := map[place]int64{}
	for _, rec := range r.records {
		if rec.Kind == "asked" {
			asked[place{rec.Replica, rec.Key}] = rec.At
		}
	}
	left := map[string]bool{}
	for _, s := range r.slots {
		left[s.child().Name] = true
	}
	for _, op := range r.history {
		if op.out.How == howUnleased && left[op.replica] && asked[place{op.replica, op.key}] < op.call {
			return op, true
		}
	}
	return op, false
}

// readAll reads every session at every replica, for what is said in the end must be one thing,
// and nothing that the store has not confirmed.
func (r *run) readAll() {
	deadline := time.Now().Add(patience)
	for k := range sessions {
		for range 2 {
			for i := range r.slots {
				for r.read(i, keyName(k), podName(k%pods)) && !r.t.Failed() {
					if time.Now().After(deadline) {
						r.t.Errorf("seed %d: replica %d answers %s without the store's word\n%s", r.seed, i, keyName(k), r.log.String())
					}
				}
			}
		}
	}
}

// read reports whether a replica answers without the store's word.
func (r *run) read(i int, key, pod string) bool {
	a, ok := r.operate(i, replicas*clients+i, command{Op: opRequest, Key: key, Pod: pod})
	return ok && a.unasked()
}
