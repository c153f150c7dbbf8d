package store

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
)

// killed opens the file as a process that begins now would find it, had the present one
// been killed.
func killed(t *testing.T, path string) Found {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(copied, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	s, found, err := Open(Options{Path: copied})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil || found.Damage != nil {
		t.Fatal(err, found.Damage)
	}
	return found
}

// Whenever a process is killed, whatever it bound and could not write, the file promises an
// epoch that none of it is above, and not much more than that.
func TestTheFilePromisesMoreThanWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "pins.db")
		s, _, stop := open(t, Options{Path: path}, nil)
		for i := range 200 {
			// At any time of the writer's turn, after other bindings or a long silence.
			time.Sleep(time.Duration(i*i*7) * time.Millisecond)
			synctest.Wait()
			now := uint64(time.Now().UnixMilli())
			if promise := killed(t, path).EpochsAbove; promise < now || promise > now+2*aheadBy+1 {
				t.Fatalf("step %d: the file promises %d at %d", i, promise, now)
			}
			if i%3 == 0 {
				b := binding(i)
				b.Epoch = now
				s.Put(b)
			}
			if i%5 == 0 {
				s.Delete("chat", binding(i).Key)
			}
		}
		wrote := s.Stats().Transactions
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := s.Stats().Transactions - wrote; n > 21 {
			t.Errorf("%d transactions in 10 minutes in which nothing happened", n)
		}
		last := binding(1)
		last.Epoch = uint64(time.Now().UnixMilli())
		s.Put(last)
		stop()
		// In good order it leaves what there was.
		if found := killed(t, path); found.EpochsAbove != last.Epoch {
			t.Errorf("the file promises %d at the end, want %d", found.EpochsAbove, last.Epoch)
		}
	})
}

// An epoch that is ahead of the clock, as when that was set back, is promised with its
// binding.
func TestEpochsAheadOfTheClockArePromised(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	s, _, stop := open(t, Options{Path: path}, nil)
	b := binding(1)
	b.Epoch = uint64(time.Now().Add(24 * time.Hour).UnixMilli())
	s.Put(b)
	s.Delete(b.Service, b.Key)
	stop()
	found := killed(t, path)
	if found.EpochsAbove != b.Epoch || len(found.Bindings) != 0 {
		t.Errorf("%+v, want %d", found, b.Epoch)
	}
	// Nor is it lost when the next process has nothing to write.
	_, _, stop = open(t, Options{Path: path}, nil)
	stop()
	if again := killed(t, path); again.EpochsAbove != b.Epoch {
		t.Errorf("after another process %d, want %d", again.EpochsAbove, b.Epoch)
	}
}

// The same through the table: a session that was bound, forgotten and bound again has a
// higher epoch, also in a process that begins when the wall clock was set back. A binding
// keeps its epoch over an orderly end, and has a higher one than any that its session had
// after another: what the pods were told last did not reach the file.
func TestEpochsOutliveTheProcess(t *testing.T) {
	for _, kill := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "pins.db")
		s, found, stop := open(t, Options{Path: path}, nil)
		table := func(found Found, j affinity.Journal) *affinity.Table {
			table, err := affinity.New(affinity.Options{Journal: j, EpochsAbove: found.EpochsAbove})
			if err != nil {
				t.Fatal(err)
			}
			table.Restore(found.Bindings, time.Now())
			return table
		}
		move := func(table *affinity.Table, pod string) statefulroute.Binding {
			b, err := table.Move("chat", "kept", pod, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		before := table(found, s)
		gone, _, _ := before.Claim("chat", "gone", "chat-0", time.Now())
		before.Delete("chat", "gone")
		last := move(before, "chat-0")
		eventually(t, "the binding in the file", func() bool { return len(killed(t, path).Bindings) == 1 })
		if kill {
			found = killed(t, path)
			move(before, "chat-1")
			last = move(before, "chat-0") // of which the file has not heard
		} else {
			stop()
			found = killed(t, path)
		}
		after := table(found, nil)
		b, won, err := after.Claim("chat", "gone", "chat-1", time.Now().Add(-24*time.Hour))
		if err != nil || !won || b.Epoch <= gone.Epoch {
			t.Errorf("killed %v: %+v, %v, %v after %+v", kill, b, won, err, gone)
		}
		kept, ok := after.Peek("chat", "kept", time.Now())
		if !ok || kept.Pod != "chat-0" || !kill && kept.Epoch != last.Epoch || kill && kept.Epoch <= last.Epoch {
			t.Errorf("killed %v: %+v after %+v", kill, kept, last)
		}
		stop()
	}
}

// What the bindings of a killed process became stays, whatever ends the next one, and
// though nothing was written of them.
func TestRaisedEpochsStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	s, _, stop := open(t, Options{Path: path}, nil)
	s.Put(binding(1))
	eventually(t, "the binding in the file", func() bool { return len(killed(t, path).Bindings) == 1 })
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	_, found, stop := open(t, Options{Path: path}, nil)
	raised := found.Bindings[0].Epoch
	if raised != found.EpochsAbove || raised <= binding(1).Epoch {
		t.Errorf("after a kill: %+v", found)
	}
	stop()
	for restart := range 2 {
		_, found, stop := open(t, Options{Path: path}, nil)
		if found.Bindings[0].Epoch != raised || found.EpochsAbove != raised {
			t.Errorf("restart %d: %+v, want epoch %d", restart, found, raised)
		}
		stop()
	}
}

// versionOne is a file as the release before epochs left it: 40 bindings.
const versionOne = "testdata/version-1.db"

func TestAFileWithoutEpochsIsReadAndUpgraded(t *testing.T) {
	whole, err := os.ReadFile(versionOne)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pins.db")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]statefulroute.Binding{}
	for i := range 39 {
		b := binding(i)
		b.Created = t0.Add(time.Duration(i) * time.Millisecond)
		if i%4 == 0 {
			b.PreviousPod = "chat-9"
		}
		want["chat/"+b.Key] = b
	}
	shop := binding(1)
	shop.Service, shop.Key, shop.Pod, shop.Epoch = "shop", "a", "shop-0", uint64(t0.UnixMilli())
	want["shop/a"] = shop

	first := killed(t, path)
	if !maps.Equal(byKey(first.Bindings), want) {
		t.Fatalf("read %+v\nwant %+v", byKey(first.Bindings), want)
	}
	if first.EpochsAbove != uint64(t0.UnixMilli())+38 {
		t.Errorf("epochs above %d", first.EpochsAbove)
	}
	s, found, stop := open(t, Options{Path: path}, maps.Values(want))
	if found.Damage != nil {
		t.Fatal(found.Damage)
	}
	eventually(t, "the file to be rewritten", func() bool { return s.Stats().Rewrites == 1 })
	stop()
	versions := versionsIn(t, path)
	if len(versions) != 1 || versions[recordVersion] != 40 {
		t.Errorf("records by version: %v", versions)
	}
	if again := killed(t, path); !maps.Equal(byKey(again.Bindings), want) || again.EpochsAbove != first.EpochsAbove {
		t.Errorf("upgraded: %+v", again)
	}
	s, _, stop = open(t, Options{Path: path}, maps.Values(want))
	stop()
	if n := s.Stats().Rewrites; n != 0 {
		t.Errorf("an upgraded file is rewritten %d times", n)
	}
}

// versionsIn counts the records of a file by their version.
func versionsIn(t *testing.T, path string) map[byte]int {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	versions := map[byte]int{}
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(_, v []byte) error { versions[v[0]]++; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return versions
}

// A promise that cannot be read is damage: the file is kept aside, and what it has of
// bindings begins above all that can have been.
func TestABadPromiseIsDamage(t *testing.T) {
	for name, value := range map[string][]byte{
		"empty": {}, "no number": {1, 2, 3, 4}, "another checksum": {9, 9, 1, 1, 2, 3, 4},
	} {
		path := filepath.Join(t.TempDir(), "pins.db")
		write(t, path, 10)
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(epochBucket)
			if err != nil {
				return err
			}
			return b.Put(promiseKey, value)
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		s, found, err := Open(Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		above := max(binding(9).Epoch, uint64(time.Now().UnixMilli()))
		if !errors.Is(found.Damage, errPromise) || found.Aside == "" || len(found.Bindings) != 10 || found.EpochsAbove <= above || found.Bindings[3].Epoch != found.EpochsAbove {
			t.Errorf("%s: %v, aside %q, %d bindings, epochs above %d", name, found.Damage, found.Aside, len(found.Bindings), found.EpochsAbove)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for " + what)
		}
	}
}
