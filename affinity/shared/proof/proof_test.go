package proof_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTime bounds the check of one session's history.
const checkTime = 20 * time.Second

// verdict is what the checker says of a schedule.
type verdict struct {
	operations int
	sessions   int
	refused    int
	unknown    int
	fellBack   int // sessions whose history takes that the store lost data
	violated   []string
	undecided  int
	unasked    int // answers while nobody could be asked, which on_store_loss: allow gives
	elsewhere  int // sessions that a replica sent elsewhere so
	agreed     int // of these, those that were there when the replica asked again
	uncounted  []string
	longest    time.Duration
}

// judge checks the histories of a schedule's sessions.
func (r *run) judge() (v verdict) {
	byKey, unasked := map[string][]operation{}, map[string][]operation{}
	for _, op := range r.history {
		v.operations++
		switch op.out.How {
		case howRefused:
			v.refused++
			continue
		case howUnknown:
			v.unknown++
		}
		if op.out.unasked() {
			unasked[op.key] = append(unasked[op.key], op)
			continue
		}
		byKey[op.key] = append(byKey[op.key], op)
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		v.sessions++
		began := time.Now()
		ops := append(byKey[key], r.remembered(key)...)
		most := checkTime
		if len(r.losses) > 0 {
			most = checkTime / 10
		}
		result, info := check(ops, most)
		if result != porcupine.Ok && len(r.losses) > 0 {
			ops = append(slices.Clone(ops), r.lost(key, ops)...)
			if result, info = check(ops, checkTime); result == porcupine.Ok {
				v.fellBack++
			}
		}
		v.longest = max(v.longest, time.Since(began))
		switch result {
		case porcupine.Unknown:
			v.undecided++
			r.show(key, ops, info)
			r.t.Logf("seed %d: the check of %s took too long", r.seed, key)
		case porcupine.Illegal:
			v.violated = append(v.violated, key)
			r.show(key, ops, info)
		case porcupine.Ok:
			r.compare(key, ops, unasked[key], &v)
		}
	}
	v.uncounted = append(v.uncounted, r.miscounted()...)
	return v
}

// remembered are the bindings of sessions that began while nobody could be asked, as the
// store took them later.
func (r *run) remembered(key string) (out []operation) {
	for n, rec := range r.records {
		if rec.Kind == "putback" && rec.Key == key && rec.Epoch == provisional {
			if op, ok := r.putBackOperation(n); ok {
				out = append(out, op)
			}
		}
	}
	return out
}

// putBackOperation is what a record says that a replica did to a session by putting it back.
func (r *run) putBackOperation(n int) (op operation, ok bool) {
	rec := r.records[n]
	op = operation{
		key: rec.Key, client: 200 + n%50, in: input{op: opPutBack, pod: rec.Pod}, call: rec.At, ret: forever,
		out: answer{Pod: rec.Pod, Epoch: rec.InForce},
	}
	if rec.InForce == 0 {
		op.out.How, op.ret = howUnknown, op.call
		return op, !r.confirmed(n)
	}
	op.call, op.ret = r.began(n), rec.At
	return op, rec.InForce > rec.Epoch
}

// compare finds the sessions that were sent elsewhere than the register says, by replicas
// that could ask nobody.
func (r *run) compare(key string, ops, unasked []operation, v *verdict) {
	v.unasked += len(unasked)
	type place struct{ replica, pod string }
	seen := map[place]bool{}
	for _, op := range unasked {
		at := place{op.replica, op.out.Pod}
		if seen[at] {
			continue
		}
		seen[at] = true
		op.in.op, op.out.How = opGlance, howKnown
		if result, _ := check(append(slices.Clone(ops), op), checkTime/10); result == porcupine.Illegal {
			if !r.wentElsewhere(&op, v) {
				r.show(key, append(slices.Clone(ops), unasked...), porcupine.LinearizationInfo{})
			}
		}
	}
}

// counted reports whether a conflict of a session was counted since a time, by whichever
// replica had to give up its pod.
func (r *run) counted(key string, since int64) bool {
	return slices.ContainsFunc(r.records, func(rec record) bool { return rec.Kind == "conflict" && rec.Key == key && rec.At > since })
}

// agreed reports whether the store, when the replica could ask it again, had a session on just
// the pod to which the replica had sent it.
func (r *run) agreed(replica, key, pod string) bool {
	return slices.ContainsFunc(r.records, func(rec record) bool {
		return rec.Kind == "asked" && rec.Agreed && rec.Replica == replica && rec.Key == key && rec.Pod == pod
	})
}

// wentElsewhere books that a replica that could ask nobody sent a session elsewhere than the
// register says. Of those that are left somebody counts that.
func (r *run) wentElsewhere(op *operation, v *verdict) (counted bool) {
	v.elsewhere++
	_, left := r.conflictsOf[op.replica]
	switch {
	case r.counted(op.key, op.call), !left:
	case r.agreed(op.replica, op.key, op.out.Pod):
		v.agreed++
	default:
		v.uncounted = append(v.uncounted, fmt.Sprintf("seed %d: %s sent %s to %s, and nobody counted a conflict", r.seed, op.replica, op.key, op.out.Pod))
		return false
	}
	return true
}

// miscounted are replicas that count other conflicts than they told of.
func (r *run) miscounted() (out []string) {
	told := map[string]uint64{}
	for _, rec := range r.records {
		if rec.Kind == "conflict" {
			told[rec.Replica]++
		}
	}
	for replica, n := range r.conflictsOf {
		if n != told[replica] {
			out = append(out, fmt.Sprintf("seed %d: %s counts %d conflicts, and told of %d", r.seed, replica, n, told[replica]))
		}
	}
	return out
}

// check tells whether a register may have the history.
func check(ops []operation, most time.Duration) (porcupine.CheckResult, porcupine.LinearizationInfo) {
	all := make([]porcupine.Operation, len(ops))
	for i, op := range ops {
		all[i] = porcupine.Operation{ClientId: op.client, Input: op.in, Call: op.call, Output: op.out, Return: op.ret}
	}
	return porcupine.CheckOperationsVerbose(model, all, most)
}

// lost are the operations that the store did on a session by losing data, and that replicas
// did by putting it back late.
func (r *run) lost(key string, ops []operation) (out []operation) {
	older := map[binding]bool{}
	for _, op := range ops {
		if op.out.Pod != "" {
			older[binding{op.out.Pod, op.out.Epoch}] = true
		}
		if op.out.From != "" {
			older[binding{op.out.From, op.out.FromEpoch}] = true
		}
	}
	var incarnations []string
	opened := map[string]int64{}
	for _, rec := range slices.SortedFunc(slices.Values(r.records), func(a, b record) int { return cmp.Compare(a.At, b.At) }) {
		if rec.Incarnation == "" {
			continue
		}
		if !slices.Contains(incarnations, rec.Incarnation) {
			incarnations = append(incarnations, rec.Incarnation)
		}
		if (rec.Kind == "open" || rec.Open) && opened[rec.Incarnation] == 0 {
			opened[rec.Incarnation] = rec.At
		}
	}
	for n, l := range r.losses {
		in := input{op: opLoss, older: slices.Collect(maps.Keys(older))}
		ret := int64(forever)
		for _, id := range incarnations[slices.Index(incarnations, l.was)+1:] {
			if opened[id] > l.at {
				in.known, ret = r.putBack(key, id, opened[id]), opened[id]
				break
			}
		}
		out = append(out, operation{key: key, client: 100 + n, in: in, call: l.at, ret: ret})
	}
	for n, rec := range r.records {
		if rec.Kind != "putback" || rec.Key != key || rec.Epoch == provisional || rec.At < r.losses[0].at {
			continue
		}
		op, ok := r.putBackOperation(n)
		if !ok && rec.InForce == rec.Epoch && op.call < opened[rec.Incarnation] {
			op.in.op, op.ret, ok = opRestore, opened[rec.Incarnation], true
		}
		if ok {
			out = append(out, op)
		}
	}
	return out
}

// putBack is the highest epoch of a session that replicas put back in an incarnation before
// it took changes.
func (r *run) putBack(key, incarnation string, opened int64) (known uint64) {
	for _, rec := range r.records {
		if rec.Kind == "putback" && rec.Key == key && rec.Incarnation == incarnation && rec.At <= opened && rec.InForce >= rec.Epoch {
			known = max(known, rec.Epoch)
		}
	}
	return known
}

// confirmed reports whether the store said what became of what was put back.
func (r *run) confirmed(n int) bool {
	was := r.records[n]
	return slices.ContainsFunc(r.records[n+1:], func(rec record) bool {
		return rec.InForce > 0 && rec.Key == was.Key && rec.Pod == was.Pod && rec.Epoch == was.Epoch && rec.Incarnation == was.Incarnation
	})
}

// began is when it was first tried to put back what the store confirmed then.
func (r *run) began(n int) int64 {
	was := r.records[n]
	for _, rec := range r.records[:n] {
		if rec.Kind == "putback" && rec.Key == was.Key && rec.Pod == was.Pod && rec.Epoch == was.Epoch && rec.Incarnation == was.Incarnation {
			return rec.At
		}
	}
	return was.At
}

// show writes what is wrong with a session's history.
func (r *run) show(key string, ops []operation, info porcupine.LinearizationInfo) {
	if r.hide {
		return
	}
	if err := os.MkdirAll(*outFolder, 0o750); err != nil {
		r.t.Error(err)
		return
	}
	name := filepath.Join(*outFolder, fmt.Sprintf("proof-%d-%s", r.seed, key))
	if err := porcupine.VisualizePath(model, info, name+".html"); err != nil {
		r.t.Error(err)
	}
	var text strings.Builder
	first := r.history[0].call
	ms := func(at int64) float64 {
		if at == forever {
			return -1
		}
		return float64(at-first) / 1e6
	}
	type line struct {
		at   int64
		text string
	}
	var lines []line
	for _, op := range ops {
		lines = append(lines, line{op.call, fmt.Sprintf("%9.2f %9.2f %-4s client %-3d %s %s", ms(op.call), ms(op.ret), op.replica, op.client,
			model.DescribeOperation(op.in, op.out), op.out.Error)})
	}
	for _, rec := range r.records {
		if rec.Key == "" || rec.Key == key {
			lines = append(lines, line{rec.At, fmt.Sprintf("%9.2f           ---- %+v", ms(rec.At), rec)})
		}
	}
	for _, l := range r.losses {
		lines = append(lines, line{l.at, fmt.Sprintf("%9.2f           ---- the store loses data of %s", ms(l.at), l.was)})
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	for _, l := range lines {
		fmt.Fprintln(&text, l.text)
	}
	fmt.Fprintf(&text, "\nfaults: %v\n\n%s", r.faults, r.log.String())
	if err := os.WriteFile(name+".txt", []byte(text.String()), 0o600); err != nil {
		r.t.Error(err)
	}
}

// sum is what many schedules came to.
type sum struct {
	mu sync.Mutex
	verdict
	schedules int
	faults    map[string]int
	conflicts uint64
}

func (s *sum) add(r *run, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schedules++
	s.operations += v.operations
	s.sessions += v.sessions
	s.refused += v.refused
	s.unknown += v.unknown
	s.fellBack += v.fellBack
	s.undecided += v.undecided
	s.unasked += v.unasked
	s.elsewhere += v.elsewhere
	s.agreed += v.agreed
	s.uncounted = append(s.uncounted, v.uncounted...)
	s.violated = append(s.violated, v.violated...)
	s.longest = max(s.longest, v.longest)
	s.conflicts += r.conflicts
	for kind, n := range r.faults {
		s.faults[kind] += n
	}
}

func (s *sum) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "schedules %d · operations %d · histories %d · refused %d · unknown %d · histories that took a loss of data %d · conflicts %d\n",
		s.schedules, s.operations, s.sessions, s.refused, s.unknown, s.fellBack, s.conflicts)
	fmt.Fprintf(&b, "violations %d · undecided %d · longest check %s\n", len(s.violated), s.undecided, s.longest.Round(time.Millisecond))
	if s.unasked > 0 {
		fmt.Fprintf(&b, "answers without a lease %d · sessions sent elsewhere by them %d · of these there when it was asked %d · not counted as a conflict %d\n",
			s.unasked, s.elsewhere, s.agreed, len(s.uncounted))
	}
	for _, u := range s.uncounted[:min(len(s.uncounted), 10)] {
		fmt.Fprintln(&b, u)
	}
	for _, kind := range slices.Sorted(maps.Keys(s.faults)) {
		fmt.Fprintf(&b, "%6d  %s\n", s.faults[kind], kind)
	}
	return b.String()
}

// shortSchedules are those of a test that is not asked for more.
const shortSchedules = 3

func TestAnswersFormOneHistory(t *testing.T) {
	n := *schedules
	if n == 0 {
		n = shortSchedules
	}
	for _, loss := range []string{"deny", "allow"} {
		if *onlyLoss != "" && *onlyLoss != loss {
			continue
		}
		t.Run(loss, func(t *testing.T) {
			total := &sum{faults: map[string]int{}}
			t.Cleanup(func() { total.report(t, loss) })
			next := make(chan int64)
			var all sync.WaitGroup
			for range *atOnce {
				all.Go(func() {
					for seed := range next {
						t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
							r := runSchedule(t, seed, plan{allow: loss == "allow"})
							v := r.judge()
							total.add(r, v)
							if len(v.violated) > 0 {
								t.Errorf("seed %d: no register has the history of %v; see %s; faults %v", seed, v.violated, *outFolder, r.faults)
							}
						})
					}
				})
			}
			for i := range n {
				next <- *firstSeed + int64(i)
			}
			close(next)
			all.Wait()
		})
	}
}

// report prints what the schedules came to; many of them in a file, too.
func (s *sum) report(t *testing.T, loss string) {
	text := fmt.Sprintf("on_store_loss: %s\n%s", loss, s)
	t.Log(text)
	if s.undecided > 0 {
		t.Errorf("%d histories took too long to check", s.undecided)
	}
	if len(s.uncounted) > 0 {
		t.Errorf("%d sessions were sent elsewhere uncounted", len(s.uncounted))
	}
	if *schedules == 0 {
		return
	}
	if err := os.MkdirAll(*outFolder, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*outFolder, "proof-"+loss+".txt"), []byte(text), 0o600); err != nil {
		t.Error(err)
	}
}

// mostBroken is how many schedules may pass until the checker finds what is broken.
const mostBroken = 100

// TestWhatIsBrokenIsFound breaks the code on purpose: a proof that finds nothing then proves nothing.
func TestWhatIsBrokenIsFound(t *testing.T) {
	broken := []breakage{breakNoAck, breakNoLease}
	if *schedules > 0 {
		broken = append(broken, breakSlowClock)
	}
	for _, b := range broken {
		t.Run(string(b), func(t *testing.T) {
			for n := range mostBroken {
				r := runSchedule(t, *firstSeed+int64(n), plan{breaks: b, hide: true})
				if v := r.judge(); len(v.violated) > 0 {
					t.Logf("found by schedule %d, after %d operations of it, in %v; faults %v", n+1, v.operations, v.violated, r.faults)
					return
				}
			}
			t.Errorf("not found by %d schedules", mostBroken)
		})
	}
}
