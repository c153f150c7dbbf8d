package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	statefulroute "github.com/stateful-route/stateful-route"
)

// bucket holds the bindings; its name is the file's format.
var bucket = []byte("stateful-route bindings 1")

// Found is what Open found in the file.
type Found struct {
	// Bindings are the readable ones, in no particular order.
	Bindings []statefulroute.Binding
	// EpochsAbove is an epoch that none which was ever given is above, as far as the file
	// can tell: those of new bindings must be. See affinity.Options. The bindings of a
	// process that was killed have it, for their own last ones may be missing.
	EpochsAbove uint64
	// Damage says what was wrong with the file; nil if nothing was.
	Damage error
	// Aside is where a damaged or foreign file was put.
	Aside string

	mark    mark // what the file's times mean
	promise promise
	old     bool // some records are of an earlier version
}

// Open opens or creates the file. A file that is damaged, or is not ours, is
// renamed and a new one takes its place; Found says so, and has what could be
// read. It is an error when the file is in use by another process, or cannot be
// read or created at all.
func Open(o Options) (*Store, Found, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, Found{}, err
	}
	_, statErr := os.Lstat(o.Path)
	fresh := errors.Is(statErr, fs.ErrNotExist)
	var found Found
	f, err := openFile(o, &found)
	if err != nil {
		if refused(err) {
			return nil, Found{}, fmt.Errorf("store: open %s: %w", o.Path, err)
		}
		found.Damage = fmt.Errorf("store: %s is damaged or not a store of bindings: %w", o.Path, err)
		if found.Aside, err = setAside(o.Path); err != nil {
			return nil, Found{}, errors.Join(found.Damage, err)
		}
		if f, err = openFile(o, &Found{}); err != nil {
			return nil, Found{}, fmt.Errorf("store: create %s: %w", o.Path, err)
		}
	}
	s := &Store{options: o, file: f, pending: newPending(o.MaxPending), scale: newScale(o.moment(), found.mark)}
	s.atLeast = found.settleEpochs(o.now())
	s.highest.Store(found.EpochsAbove)
	found.correct(&s.scale)
	if fresh || found.Damage != nil {
		syncDir(filepath.Dir(o.Path))
	}
	if found.Damage != nil || found.old {
		// The new file lacks what was saved from the old one, or its records are as they
		// were once: write it all.
		s.pending.distrust()
	}
	return s, found, nil
}

// correct turns the file's times into the wall clock's, as it goes now.
func (f *Found) correct(s *scale) {
	shift := s.shift()
	if shift == 0 {
		return
	}
	for i := range f.Bindings {
		b := &f.Bindings[i]
		b.Created, b.LastSeen = b.Created.Add(shift), b.LastSeen.Add(shift)
	}
}

// syncDir makes sure that a power failure does not take a new file's name. Not
// every file system can do it, so its error means nothing.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// refused tells a file that may be fine, but not for us, from a damaged one.
func refused(err error) bool {
	var errno syscall.Errno
	return errors.Is(err, bolterrors.ErrTimeout) || (errors.As(err, &errno) && errno != syscall.EISDIR)
}

// setAside renames a file so that its name is free and its content kept.
func setAside(path string) (string, error) {
	for i := 0; ; i++ {
		aside := fmt.Sprintf("%s.damaged-%s-%d", path, time.Now().UTC().Format("20060102T150405"), i)
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		if err := os.Rename(path, aside); err != nil {
			return "", fmt.Errorf("store: keep the damaged file aside: %w", err)
		}
		return aside, nil
	}
}

// check reads the file beside bbolt, which holds its lock.
func check(path string, pageSize int) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() // it was only read: nothing is lost with its error
	return checkTree(file, pageSize)
}

func boltOptions(o Options) *bolt.Options {
	return &bolt.Options{
		Timeout: time.Second, // for the lock of another process
		NoSync:  !o.Sync,
		// Nor wait for the disk when the file grows: syncUntil sees to it.
		NoGrowSync: !o.Sync,
		// The list of free pages is kept in the file: without it, bbolt finds
		// them at start in a goroutine whose panic nobody can recover.
		NoFreelistSync: false,
		FreelistType:   bolt.FreelistMapType,
	}
}

// load reads the bindings, or makes their bucket in an empty file. A bbolt file
// of another program is refused.
func load(db *bolt.DB, found *Found) error {
	empty := false
	err := db.View(func(tx *bolt.Tx) error {
		if tx.Bucket(bucket) != nil {
			found.mark = loadMark(tx)
			var err error
			found.promise, err = loadPromise(tx)
			return errors.Join(loadAll(tx, found), err)
		}
		first, _ := tx.Cursor().First()
		if empty = first == nil; !empty {
			return fmt.Errorf("it holds %q", first)
		}
		return nil
	})
	if err != nil || !empty {
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	})
}

// loadAll reads on after a bad record, so that one costs no other. Every record
// guards itself; that each has its place is seen by their order.
func loadAll(tx *bolt.Tx, found *Found) error {
	d, bad := newDecoder(), 0
	var firstBad error
	var last []byte
	err := tx.Bucket(bucket).ForEach(func(k, v []byte) error {
		b, err := d.decode(k, v)
		if bytes.Compare(k, last) <= 0 && last != nil {
			err = errors.Join(err, errOrder)
		}
		last = k
		if err == nil {
			found.Bindings = append(found.Bindings, b)
		} else if bad++; bad == 1 {
			firstBad = err
		}
		return nil
	})
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d of %d records are bad, the first: %w", bad, bad+len(found.Bindings), firstBad)
	}
	found.old = d.old
	return err
}

// guard runs f and returns its panic or memory fault as an error: damage can make
// bbolt panic, or fault where its map of the file reaches past the end.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errFault, r)
		}
	}()
	return f()
}
