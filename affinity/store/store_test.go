package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
)

// Variables that make the test's program another one.
const (
	victimEnv   = "STATEFUL_ROUTE_STORE_VICTIM"
	sweepingEnv = "STATEFUL_ROUTE_STORE_SWEEPING_VICTIM"
	fullDiskEnv = "STATEFUL_ROUTE_STORE_FULL_DISK"
)

func TestMain(m *testing.M) {
	for env, program := range map[string]func(path string){
		victimEnv:   func(path string) { victim(path, false) },
		sweepingEnv: func(path string) { victim(path, true) },
		fullDiskEnv: fullDisk,
	} {
		if path := os.Getenv(env); path != "" {
			program(path)
			return
		}
	}
	goleak.VerifyTestMain(m)
}

var t0 = time.Unix(1_800_000_000, 123)

func binding(i int) statefulroute.Binding {
	return statefulroute.Binding{
		Service: "chat", Key: fmt.Sprintf("session-%07d", i), Pod: fmt.Sprintf("chat-%d", i%3), Epoch: uint64(t0.UnixMilli()) + uint64(i),
		Created: t0, LastSeen: t0.Add(time.Second), Requests: uint64(i),
	}
}

// open opens the store and runs it until the test ends or stop is called.
func open(t *testing.T, o Options, all iter.Seq[statefulroute.Binding]) (s *Store, found Found, stop func()) {
	t.Helper()
	o.FinishWithin = time.Hour // the machine may be slow
	s, found, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, all) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return s, found, stop
}

// contents reads a file that nobody has open.
func contents(t testing.TB, path string) map[string]statefulroute.Binding {
	t.Helper()
	s, found, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if found.Damage != nil {
		t.Fatalf("damage: %v", found.Damage)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return byKey(found.Bindings)
}

func byKey(bs []statefulroute.Binding) map[string]statefulroute.Binding {
	out := map[string]statefulroute.Binding{}
	for _, b := range bs {
		out[b.Service+"/"+b.Key] = b
	}
	return out
}

func TestLastChangeOfEachKeySurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	s, _, stop := open(t, Options{Path: path}, nil)
	want := map[string]statefulroute.Binding{}
	for i := range 5000 {
		b := binding(i)
		s.Put(b)
		switch i % 3 {
		case 0:
			s.Delete(b.Service, b.Key)
			continue
		case 1:
			b.Pod, b.PreviousPod = "chat-9", b.Pod
			s.Put(b)
		}
		want[b.Service+"/"+b.Key] = b
	}
	stop()
	if got := contents(t, path); !maps.Equal(got, want) {
		t.Fatalf("%d bindings kept, want %d; the same: %v", len(got), len(want), maps.Equal(got, want))
	}
}

// victim claims sessions as fast as it can be told of, and prints each a moment
// after it was bound. With sweeping, the bindings it found expire when it has
// claimed a few. It is killed.
func victim(path string, sweeping bool) {
	s, found, err := Open(Options{Path: path})
	if err != nil {
		panic(err)
	}
	table, err := affinity.New(affinity.Options{Journal: s})
	if err != nil {
		panic(err)
	}
	table.Restore(found.Bindings, t0.Add(time.Second))
	go s.Run(context.Background(), nil) // it never ends
	out := bufio.NewWriter(os.Stdout)
	later := t0.Add(time.Hour)
	for i := 0; ; i++ {
		if sweeping && i == sweepAt {
			go table.Expire(later)
		}
		if _, _, err := table.Claim("chat", strconv.Itoa(i), "chat-0", later); err != nil {
			panic(err)
		}
		fmt.Fprintf(out, "%d %d\n", i, time.Now().UnixNano())
		out.Flush()
		time.Sleep(100 * time.Microsecond)
	}
}

// sweepAt is the claim at which a sweeping victim sweeps.
const sweepAt = 500

// What a killed process leaves in the file is what it answered first, without a gap: the
// writer keeps the order, and only the last moments are missing.
func TestKilledProcessKeepsAllButTheLastAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	answered, killed := readAnswers(t, victimEnv+"="+path, func(last int) bool { return last == 3000 })
	checkKept(t, contents(t, path), answered, killed)
}

// The same when the deletions of a sweep are before it.
func TestKilledInASweep(t *testing.T) {
	const expired = 300_000
	path := filepath.Join(t.TempDir(), "pins.db")
	write(t, path, expired)
	answered, killed := readAnswers(t, sweepingEnv+"="+path, func(last int) bool { return last == sweepAt+300 })
	kept := contents(t, path)
	if n := checkKept(t, kept, answered, killed); n <= sweepAt {
		t.Errorf("%d bindings kept, and none that was made in the sweep", n)
	}
	deleted := expired
	for key := range kept {
		if strings.HasPrefix(key, "chat/session-") {
			deleted--
		}
	}
	t.Logf("killed with %d claims answered and %d of %d deletions written", len(answered), deleted, expired)
	if deleted == expired {
		t.Error("the sweep was over before the kill")
	}
}

// checkKept checks that those of the answered bindings that are kept have no gap, and
// returns how many they are. How old the ones are that are missing is a matter of the
// machine: BenchmarkKill says it.
func checkKept(t *testing.T, kept map[string]statefulroute.Binding, answered map[int]int64, killed int64) (n int) {
	t.Helper()
	for i := range answered {
		if _, ok := kept[fmt.Sprintf("chat/%d", i)]; ok {
			n = max(n, i+1)
		}
	}
	for i := range n {
		if _, ok := kept[fmt.Sprintf("chat/%d", i)]; !ok {
			t.Errorf("binding %d is lost, a later one is kept", i)
		}
	}
	if n == 0 {
		t.Error("nothing is kept")
	}
	t.Logf("%d of %d kept, the oldest lost one was answered %s before the kill", n, len(answered), oldestLost(kept, answered, killed))
	return n
}

// oldestLost is how long before the kill the oldest binding was answered that is not
// kept; 0 if all are.
func oldestLost(kept map[string]statefulroute.Binding, answered map[int]int64, killed int64) (age time.Duration) {
	for i, at := range answered {
		if _, ok := kept[fmt.Sprintf("chat/%d", i)]; !ok {
			age = max(age, time.Duration(killed-at))
		}
	}
	return age
}

// BenchmarkKill says how long before a kill the oldest binding was answered that is
// lost: 50 ms are promised.
func BenchmarkKill(b *testing.B) {
	worst := time.Duration(0)
	for b.Loop() {
		path := filepath.Join(b.TempDir(), "pins.db")
		answered, killed := readAnswers(b, victimEnv+"="+path, func(last int) bool { return last == 3000 })
		worst = max(worst, oldestLost(contents(b, path), answered, killed))
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "ms-lost")
}

// write fills a new file with n bindings.
func write(t *testing.T, path string, n int) {
	t.Helper()
	s, _, stop := open(t, Options{Path: path}, nil)
	for i := range n {
		s.Put(binding(i))
	}
	stop()
}

func TestDamagedFilesAreKeptAside(t *testing.T) {
	const n = 20_000
	flip := func(from, to int) func(*testing.T, []byte) []byte {
		return func(_ *testing.T, b []byte) []byte {
			for i := from; i < min(to, len(b)); i++ {
				b[i] ^= 0x5a
			}
			return b
		}
	}
	cases := map[string]func(*testing.T, []byte) []byte{
		"text":       func(*testing.T, []byte) []byte { return []byte("pins: none\n") },
		"zeroes":     func(_ *testing.T, b []byte) []byte { return make([]byte, len(b)) },
		"both metas": flip(0, 8192),
		"cut off":    func(_ *testing.T, b []byte) []byte { return b[:len(b)/3] },
		"one page":   func(_ *testing.T, b []byte) []byte { return b[:4097] },
		"middle":     flip(400_000, 800_000),
		"one record": func(_ *testing.T, b []byte) []byte {
			// Every copy: pages that are free now still hold older ones.
			key, at := []byte("session-0004321"), 0
			for i := bytes.Index(b, key); i >= 0; i = bytes.Index(b[at:], key) {
				at += i + len(key)
				b[at+3] ^= 1
			}
			return b
		},
		"pages of another place": func(_ *testing.T, b []byte) []byte {
			for i := 100; i < 150; i++ { // some of them are in use
				copy(b[i*4096:(i+1)*4096], b[(i+100)*4096:])
				binary.LittleEndian.PutUint64(b[i*4096:], uint64(i))
			}
			return b
		},
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pins.db")
			write(t, path, n)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b = damage(t, b)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			s, found, err := Open(Options{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			if found.Damage == nil || !strings.Contains(found.Damage.Error(), path) {
				t.Fatalf("damage: %v", found.Damage)
			}
			if aside, err := os.ReadFile(found.Aside); err != nil || len(aside) < len(b) {
				t.Fatalf("kept aside: %d bytes, want %d: %v", len(aside), len(b), err)
			}
			for _, got := range found.Bindings {
				var i int
				if _, err := fmt.Sscanf(got.Key, "session-%d", &i); err != nil || got != found.asRead(binding(i)) {
					t.Fatalf("a wrong binding was read: %+v", got)
				}
			}
			// What was saved goes into the new file at once.
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Run(ctx, func(yield func(statefulroute.Binding) bool) {
				for _, b := range found.Bindings {
					if !yield(b) {
						return
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
			if got := contents(t, path); len(got) != len(found.Bindings) {
				t.Fatalf("the new file has %d bindings, want %d", len(got), len(found.Bindings))
			}
			if name == "one record" && len(found.Bindings) != n-1 {
				t.Fatalf("%d bindings saved, want all but one", len(found.Bindings))
			}
		})
	}
}

func TestForeignDatabaseIsKeptAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("photos"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, found, stop := open(t, Options{Path: path}, nil)
	stop()
	if found.Damage == nil || !strings.Contains(found.Damage.Error(), "photos") || found.Aside == "" {
		t.Fatalf("found %+v", found)
	}
}

func TestFileInUseIsAnErrorAndLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	open(t, Options{Path: path}, nil)
	if _, _, err := Open(Options{Path: path}); !errors.Is(err, bolterrors.ErrTimeout) {
		t.Fatalf("second Open: %v", err)
	}
	if _, _, err := Open(Options{Path: filepath.Join(path, "below", "a-file")}); err == nil {
		t.Fatal("a path that cannot exist was opened")
	}
	if files, _ := filepath.Glob(path + "*"); len(files) != 1 {
		t.Fatalf("files: %v", files)
	}
}

func TestLostChangesAreMadeGoodByARewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	truth := map[string]statefulroute.Binding{}
	s, _, err := Open(Options{Path: path, MaxPending: 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 { // before Run, nothing is taken
		b := binding(i)
		s.Put(b)
		truth[b.Service+"/"+b.Key] = b
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx, maps.Values(truth)); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Lost != 90 || st.Rewrites != 1 || st.Pending != 0 {
		t.Fatalf("%+v", st)
	}
	if got := contents(t, path); !maps.Equal(got, truth) {
		t.Fatalf("%d bindings, want %d", len(got), len(truth))
	}
}

func TestFailedWritesAreReportedAndRetried(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	var reports []error
	s, _, err := Open(Options{Path: path, OnError: func(err error) { reports = append(reports, err) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.file.db.Close(); err != nil { // every write fails from here on
		t.Fatal(err)
	}
	s.Put(binding(1))
	s.Put(binding(2))
	w := newWriter(s, nil)
	for range 3 {
		if err = w.finish(); !errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
			t.Fatalf("finish: %v", err)
		}
		s.report(troubleWriting, err)
	}
	newer := binding(2)
	newer.Pod = "chat-9"
	s.Put(newer)
	if s.file, err = openFile(s.options, &Found{}); err != nil {
		t.Fatal(err)
	}
	s.report(troubleWriting, w.finish())
	if len(reports) != 4 || reports[0] == nil || reports[2] == nil || reports[3] != nil {
		t.Fatalf("reports: %v", reports)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := contents(t, path)
	if len(got) != 2 || got["chat/"+newer.Key] != newer {
		t.Fatalf("kept: %v", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{{}, {Path: "x", FlushInterval: -1}, {Path: "x", MaxPending: -1}, {Path: "x", FinishWithin: -1}} {
		if _, _, err := Open(o); err == nil {
			t.Errorf("Open(%+v) succeeded", o)
		}
	}
}
