package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	statefulroute "github.com/stateful-route/stateful-route"
)

// inFile returns what the open file has of a key.
func (s *Store) inFile(tb interface{ Fatal(args ...any) }, service, key string) (b statefulroute.Binding, ok bool) {
	err := s.file.db.View(func(tx *bolt.Tx) (err error) {
		k := recordKey(service, key)
		v := tx.Bucket(bucket).Get(k)
		if ok = v != nil; ok {
			b, err = newDecoder().decode(k, v)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b, ok
}

// filled is an open store with n bindings in its file.
func filled(tb testing.TB, n int) *Store {
	tb.Helper()
	s, _, err := Open(Options{Path: filepath.Join(tb.TempDir(), "pins.db"), MaxPending: 1 << 21, FinishWithin: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	for i := range n {
		s.Put(binding(i))
	}
	if err := newWriter(s, nil).finish(); err != nil {
		tb.Fatal(err)
	}
	return s
}

// The next process waits for the file. All that a sweep left to be deleted, and a
// last use of every session, are not worth that; what nobody may miss is.
func TestTheEndDoesNotWaitForWhatCanWait(t *testing.T) {
	const n = 20_000
	path := filepath.Join(t.TempDir(), "pins.db")
	s, _, err := Open(Options{Path: path, FinishWithin: time.Nanosecond, FlushInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		b := binding(i)
		b.Requests = 2 // a use: it can wait
		s.Put(b)
	}
	claimed := binding(n)
	claimed.Requests = 1
	s.Put(claimed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx, nil); err != nil {
		t.Fatal(err)
	}
	kept := contents(t, path)
	if _, ok := kept["chat/"+claimed.Key]; !ok {
		t.Error("a claim is lost")
	}
	if len(kept) > n/2 {
		t.Errorf("%d of %d uses were written although there was no time for them", len(kept)-1, n)
	}
}

// Whatever a sweep left to be deleted, or a rewrite has to do: what somebody may
// miss after a restart waits for one transaction of theirs at most.
func TestUrgentChangesOvertakeTheRest(t *testing.T) {
	const n = 300_000
	s := filled(t, n)
	order := rand.New(rand.NewPCG(1, 1)).Perm(n)
	for _, i := range order[:n*9/10] {
		s.Delete("chat", binding(i).Key)
	}
	for _, i := range order[n*9/10:] { // one more use
		b := binding(i)
		b.LastSeen, b.Requests = b.LastSeen.Add(time.Minute), b.Requests+2
		s.Put(b)
	}
	s.pending.distrust()
	moved := binding(order[n-1])
	moved.Pod, moved.PreviousPod = "chat-9", moved.Pod
	w := newWriter(s, func(yield func(statefulroute.Binding) bool) {
		for _, i := range order[n*9/10 : n-2] {
			if !yield(binding(i)) {
				return
			}
		}
		yield(moved)
	})
	t.Cleanup(w.close)
	urgent := []struct {
		name string
		note func(i int) (key string)
		done func(b statefulroute.Binding, ok bool) bool
	}{
		{"new", func(i int) string {
			b := binding(n + i)
			b.Requests = 1
			s.Put(b)
			return b.Key
		}, func(_ statefulroute.Binding, ok bool) bool { return ok }},
		{"moved", func(i int) string {
			moved.Pod = fmt.Sprintf("moved-%d", i)
			s.Put(moved)
			return moved.Key
		}, func(b statefulroute.Binding, _ bool) bool { return b.Pod == moved.Pod }},
		{"deleted by request", func(int) string {
			key := binding(order[n-2]).Key
			s.Delete("chat", key)
			s.Expedite("chat", key)
			return key
		}, func(_ statefulroute.Binding, ok bool) bool { return !ok }},
	}
	var steps iter.Seq2[int, func() (bool, error)] = func(yield func(int, func() (bool, error)) bool) {
		for i := 0; ; i++ {
			if !yield(i, w.steps()[i%len(w.steps())]) {
				return
			}
		}
	}
	worst, waiting, began := uint64(0), "", uint64(0)
	var next = 0
	for i, step := range steps {
		u := urgent[next%len(urgent)]
		if waiting == "" {
			began = s.Stats().Transactions
			waiting = u.note(i)
		}
		if _, err := step(); err != nil {
			t.Fatal(err)
		}
		if u.done(s.inFile(t, "chat", waiting)) {
			worst = max(worst, s.Stats().Transactions-began)
			waiting = ""
			next++
		}
		if s.Stats().Rewrites == 1 && s.Stats().Pending == 0 {
			break
		}
		if i > 100_000 {
			t.Fatalf("the sweep and the rewrite never end: %+v", s.Stats())
		}
	}
	t.Logf("%d urgent changes among %d transactions, the slowest was in the %d. after it", next, s.Stats().Transactions, worst)
	if worst > 2 || next < 100 {
		t.Errorf("of %d urgent changes one was in the file after %d transactions, want at most 2", next, worst)
	}
}

// model is what the table knows and the file must, in the end.
type model struct {
	store  *Store
	writer *writer
	truth  map[string]statefulroute.Binding
	urgent map[string]bool // keys whose last change is urgent and may not be in the file
	path   string
	closed bool
}

// all hands over pages that may be out of date when their end is reached, as
// those of the table are.
func (m *model) all() iter.Seq[statefulroute.Binding] {
	return func(yield func(statefulroute.Binding) bool) {
		for keys := slices.Sorted(maps.Keys(m.truth)); len(keys) > 0; {
			page := make([]statefulroute.Binding, 0, 3)
			for len(keys) > 0 && len(page) < 3 {
				if b, ok := m.truth[keys[0]]; ok {
					page = append(page, b)
				}
				keys = keys[1:]
			}
			for _, b := range page {
				if !yield(b) {
					return
				}
			}
		}
	}
}

func (m *model) change(t *rapid.T) {
	b := binding(rapid.IntRange(0, 30).Draw(t, "key"))
	old, known := m.truth[b.Key]
	lost := m.store.Stats().Lost
	urgent := true
	switch what := rapid.IntRange(0, 4).Draw(t, "what"); {
	case !known:
		b.Requests = 1
		m.truth[b.Key] = b
		m.store.Put(b)
	case what == 0:
		b = old
		b.Pod, b.PreviousPod = fmt.Sprintf("chat-%d", rapid.IntRange(0, 9).Draw(t, "pod")), old.Pod
		m.truth[b.Key] = b
		m.store.Put(b)
	case what == 1:
		b = old
		b.Requests += 2
		m.truth[b.Key] = b
		m.store.Put(b)
		urgent = b.PreviousPod != ""
	default:
		delete(m.truth, b.Key)
		m.store.Delete(b.Service, b.Key)
		if urgent = what == 2; urgent {
			m.store.Expedite(b.Service, b.Key)
		}
	}
	delete(m.urgent, b.Key)
	if urgent && m.store.Stats().Lost == lost {
		m.urgent[b.Key] = true
	}
}

// disk closes the file under the writer, or opens it again.
func (m *model) disk(t *rapid.T) {
	var err error
	if m.closed {
		m.store.file, err = openFile(m.store.options, &Found{})
	} else {
		err = m.store.file.db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	m.closed = !m.closed
}

// step does a whole round of the writer's. After it, every urgent change that
// was there before it, if not too many for one batch, is in the file.
func (m *model) step(t *rapid.T) {
	fits := len(m.store.pending.urgent) <= m.writer.urgent
	for _, step := range m.writer.steps() {
		if _, err := step(); (err != nil) && !m.closed {
			t.Fatal(err)
		} else if err != nil {
			return
		}
	}
	if m.closed || !fits {
		return
	}
	for key := range m.urgent {
		got, ok := m.store.inFile(t, "chat", key)
		if want, known := m.truth[key]; known != ok || got != want {
			t.Fatalf("%s: the file has %+v, want %+v", key, got, want)
		}
		delete(m.urgent, key)
	}
}

// TestTheFileFollowsTheTable: whatever changes, is lost for want of room or
// fails to be written, and in whichever order it happens, the file gets what the
// table has, urgent changes at once and the others in the end.
func TestTheFileFollowsTheTable(t *testing.T) {
	dir := t.TempDir()
	files := 0
	rapid.Check(t, func(t *rapid.T) {
		files++
		path := filepath.Join(dir, fmt.Sprintf("%d.db", files))
		s, _, err := Open(Options{Path: path, MaxPending: rapid.SampledFrom([]int{3, 10, 1000}).Draw(t, "room")})
		if err != nil {
			t.Fatal(err)
		}
		m := &model{store: s, truth: map[string]statefulroute.Binding{}, urgent: map[string]bool{}, path: path}
		m.writer = newWriter(s, m.all())
		m.writer.batches = batches{urgent: rapid.SampledFrom([]int{2, 100}).Draw(t, "urgent"), patient: 2, sort: 4, look: 3}
		defer m.writer.close()
		for range rapid.IntRange(1, 150).Draw(t, "operations") {
			switch op := rapid.IntRange(0, 20).Draw(t, "op"); {
			case op == 0:
				m.disk(t)
			case op < 6:
				m.step(t)
			default:
				m.change(t)
			}
		}
		if m.closed {
			m.disk(t)
		}
		if err := m.writer.finish(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, found, err := Open(Options{Path: path})
		if err != nil || found.Damage != nil {
			t.Fatal(err, found.Damage)
		}
		got := map[string]statefulroute.Binding{}
		for _, b := range found.Bindings {
			got[b.Key] = b
		}
		if !maps.Equal(got, m.truth) {
			t.Fatalf("the file has %v, want %v", got, m.truth)
		}
	})
}

func TestRunsAreSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRuns(func(a, b int) int { return a - b })
		var want, got []int
		for _, piece := range rapid.SliceOf(rapid.SliceOf(rapid.Int8())).Draw(t, "pieces") {
			ints := make([]int, len(piece))
			for i, x := range piece {
				ints[i] = int(x)
			}
			want = append(want, ints...)
			r.push(ints)
		}
		slices.Sort(want)
		for !r.empty() {
			some := r.pop(rapid.IntRange(1, 5).Draw(t, "n"))
			got = append(got, some...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// 50 ms after it was answered a binding outlives the process. Half of that is for the
// disk and the machine: the store itself waits no longer than the other half.
func TestABindingIsWrittenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, stop := open(t, Options{Path: filepath.Join(t.TempDir(), "pins.db")}, nil)
		defer stop()
		for i := range 100 {
			time.Sleep(time.Duration(i) * time.Millisecond) // at any time of the writer's turn
			b := binding(i)
			s.Put(b)
			time.Sleep(25 * time.Millisecond)
			synctest.Wait()
			if _, ok := s.inFile(t, b.Service, b.Key); !ok {
				t.Fatalf("binding %d is not in the file", i)
			}
		}
	})
}

func TestWhatIsWrittenIsSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	s, _, stop := open(t, Options{Path: path, SyncInterval: 5 * time.Millisecond}, nil)
	s.Put(binding(1))
	for deadline := time.Now().Add(10 * time.Second); s.Stats().Syncs == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never synced")
		}
	}
	stop()
	s, _, stop = open(t, Options{Path: path, SyncInterval: time.Hour}, nil)
	s.Put(binding(2))
	stop()
	if n := s.Stats().Syncs; n != 1 {
		t.Errorf("synced %d times at the end, want once", n)
	}
}

// fullDisk is a process whose files may not grow, which is what a full disk
// does to it. It prints what the store says, one line for each event.
func fullDisk(path string) {
	signal.Ignore(syscall.SIGXFSZ) // the write fails with EFBIG instead
	limit := func(bytes uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: 1 << 40}); err != nil {
			panic(err)
		}
	}
	limit(4096)
	_, _, err := Open(Options{Path: path})
	fmt.Println("open:", err)
	limit(1 << 20)
	events := make(chan error, 10)
	s, found, err := Open(Options{Path: path + "2", MaxPending: 50_000, OnError: func(err error) { events <- err }})
	if err != nil || found.Damage != nil {
		panic(fmt.Sprint(err, found.Damage))
	}
	truth := map[string]statefulroute.Binding{}
	for i := range 100_000 {
		b := binding(i)
		truth[b.Key] = b
		s.Put(b)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, maps.Values(truth)) }()
	fmt.Println("trouble:", <-events)
	limit(1 << 30)
	fmt.Println("trouble:", <-events)
	cancel()
	fmt.Println("end:", <-done)
}

func TestADiskThatIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fullDiskEnv+"="+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	for i, want := range []string{"open: store: open " + path, "trouble: store: write " + path + "2", "trouble: <nil>", "end: <nil>"} {
		if len(lines) <= i || !strings.HasPrefix(lines[i], want) {
			t.Fatalf("line %d: want %q in\n%s", i, want, out)
		}
	}
	if aside, _ := filepath.Glob(path + "*damaged*"); len(aside) > 0 {
		t.Errorf("a full disk is no damage: %v", aside)
	}
	if got := contents(t, path+"2"); len(got) != 100_000 {
		t.Errorf("%d bindings are in the file, want all 100,000", len(got))
	}
}

// BenchmarkBindingDuringASweep is the time until a new binding is in the file
// while 300,000 expired ones of 1M are deleted from it.
func BenchmarkBindingDuringASweep(b *testing.B) {
	const n, expired = 1_000_000, 300_000
	for range b.N {
		s := filled(b, n)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- runWithoutClose(ctx, s) }()
		for _, i := range rand.Perm(n)[:expired] {
			s.Delete("chat", binding(i).Key)
		}
		var waits []time.Duration
		began := time.Now()
		for i := 0; s.Stats().Pending > 0; i++ {
			fresh, at := binding(n+i), time.Now()
			fresh.Requests = 1
			s.Put(fresh)
			for ok := false; !ok; time.Sleep(time.Millisecond) {
				_, ok = s.inFile(b, "chat", fresh.Key)
			}
			waits = append(waits, time.Since(at))
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/sweep")
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		slices.Sort(waits)
		b.ReportMetric(float64(waits[len(waits)/2].Microseconds())/1000, "ms-p50")
		b.ReportMetric(float64(waits[len(waits)-1].Microseconds())/1000, "ms-max")
	}
}

// runWithoutClose is Run for a file that is closed by filled.
func runWithoutClose(ctx context.Context, s *Store) error {
	w := newWriter(s, nil)
	for w.wait(ctx) {
		if err := w.catchUp(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readAnswers returns when a victim had answered which session, and kills it
// once the last one is enough.
func readAnswers(t testing.TB, env string, enough func(last int) bool) (answered map[int]int64, killed int64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answered = map[int]int64{}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var i int
		var at int64
		if _, err := fmt.Sscan(lines.Text(), &i, &at); err != nil {
			break // the last line may be cut
		}
		answered[i] = at
		if killed == 0 && enough(i) {
			killed = time.Now().UnixNano()
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || killed == 0 {
		t.Fatalf("the process was not killed: %v", err)
	}
	return answered, killed
}

// A change that comes while an older one of its key fails to be written wins,
// and is as urgent as that was.
func TestWhatIsGivenBackGivesWay(t *testing.T) {
	p := newPending(10)
	older, newer := binding(1), binding(1)
	newer.Pod = "chat-9"
	k := changeKey{older.Service, older.Key}
	p.note(k, change{&older, true})
	taken := p.takeUrgent(10)
	p.note(k, change{&newer, false})
	p.giveBack(taken)
	got := p.takeUrgent(10)
	if len(got) != 1 || *got[0].binding != newer || len(p.changes) != 0 {
		t.Errorf("got %+v, want the newer change alone", got)
	}
}
