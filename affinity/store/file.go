package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// lookInterval is how often the file is looked at, so that what somebody else
// does to it is noticed within a second.
const lookInterval = 500 * time.Millisecond

// file is an open database and what is known of the file that holds it. The
// writer's goroutine uses it alone, but for syncs.
type file struct {
	db     *bolt.DB
	handle *os.File    // the same open file as db's
	page   int         // size of a page
	seen   fs.FileInfo // after our last write
	heads  heads       // after our last write
}

// heads are the two metas of a file, of which each transaction writes the one
// that is its number's rest by two.
type heads [2][metaSize]byte

func (f *file) readHeads() (h heads, err error) {
	for i := range h {
		if _, err := f.handle.ReadAt(h[i][:], int64(i)*int64(f.page)+pageHeader); err != nil {
			return h, fmt.Errorf("read its head: %w", err)
		}
	}
	return h, nil
}

// openFile opens the database, and keeps the handle that bbolt hides: once a
// fault has interrupted a transaction, there is no other way to close it.
func openFile(o Options, found *Found) (*file, error) {
	f := &file{}
	opening := boltOptions(o)
	opening.OpenFile = func(name string, flag int, perm os.FileMode) (_ *os.File, err error) {
		f.handle, err = o.openFile(name, flag, perm)
		return f.handle, err
	}
	err := guard(func() (err error) {
		if f.db, err = bolt.Open(o.Path, 0o600, opening); err != nil {
			return err
		}
		f.page = f.db.Info().PageSize
		if err := check(o.Path, f.page); err != nil {
			return err
		}
		return load(f.db, found)
	})
	if err == nil {
		f.heads, err = f.readHeads()
	}
	if err == nil {
		f.seen, err = f.handle.Stat()
	}
	if err != nil {
		// The failure of this adds nothing to what is wrong already.
		switch fault := errors.Is(err, errFault); {
		case fault && f.handle != nil:
			f.abandon(true)
		case !fault && f.db != nil:
			f.abandon(false)
		}
		return nil, err
	}
	return f, nil
}

// remember notes how the file looks after a transaction of ours, which may have failed.
// One of the heads was none of its business: who changed that was somebody else.
func (f *file) remember(id uint64) error {
	now, err := f.readHeads()
	if err != nil {
		return errors.Join(errOverwritten, err)
	}
	if other := (id + 1) % 2; now[other] != f.heads[other] {
		return errOverwritten
	}
	f.heads = now
	f.seen, err = f.handle.Stat()
	return err
}

var (
	errVanished    = errors.New("the file has vanished")
	errReplaced    = errors.New("another file has taken its place")
	errTruncated   = errors.New("the file was cut short")
	errOverwritten = errors.New("somebody else wrote to the file")
	errFault       = errors.New("a transaction was interrupted")
)

// spoilt returns what somebody else did to the file; nil if it is as this process
// left it. An error that is none of ours says that it could not be looked at.
func (f *file) spoilt(path string) error {
	now, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errVanished
	case err != nil:
		return err
	case !os.SameFile(now, f.seen):
		return errReplaced
	case now.Size() < f.seen.Size():
		return errTruncated
	}
	// The heads of another state of the file are others. When the file was
	// written says little: some file systems tell it late, and all coarsely.
	if heads, err := f.readHeads(); err != nil || heads != f.heads {
		return errOverwritten
	}
	return nil
}

// isSpoilt reports whether an error of spoilt means that the file is of no use
// any more.
func isSpoilt(err error) bool {
	for _, one := range []error{errVanished, errReplaced, errTruncated, errOverwritten, errFault} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// abandon lets a spoilt file go. A lock inside bbolt may be held for ever by a
// transaction that was interrupted, and then bbolt is not asked: what it has
// mapped stays so until the process ends.
func (f *file) abandon(interrupted bool) {
	if interrupted {
		unlock(f.handle)
		_ = f.handle.Close()
		return
	}
	_ = guard(f.db.Close) // there is nothing to be lost with it
}

// look makes sure that the file is the one that this process wrote. One that is
// not is given up, and a new one takes its place, into which all that is in memory
// is to be written: renewed says so.
func (s *Store) look() (renewed bool, err error) {
	if s.file != nil {
		err := s.file.spoilt(s.options.Path)
		if err == nil || !isSpoilt(err) {
			return false, s.wrap("look at", err)
		}
		s.giveUp(err)
	}
	if err := s.renew(); err != nil {
		return false, fmt.Errorf("store: %s is lost: %w; a new one cannot be made: %w", s.options.Path, s.lost, err)
	}
	return true, nil
}

// wrap says which file an error is about.
func (s *Store) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: %s %s: %w", what, s.options.Path, err)
}

// giveUp abandons the file, because of err.
func (s *Store) giveUp(err error) {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.file.abandon(errors.Is(err, errFault))
	s.file, s.lost = nil, err
}

// renew begins a new file. What has taken its place is kept aside, unless it is
// empty or another process uses it.
func (s *Store) renew() error {
	if err := clearPath(s.options); err != nil {
		return err
	}
	f, err := openFile(s.options, &Found{})
	if err != nil {
		return err
	}
	syncDir(filepath.Dir(s.options.Path))
	s.syncing.Lock()
	s.file, s.promised = f, promise{}
	s.syncing.Unlock()
	s.renewals.Add(1)
	s.pending.distrust()
	return nil
}

// clearPath makes room for a new file.
func clearPath(o Options) error {
	info, err := os.Stat(o.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // or a link that leads nowhere, which stays
		return nil
	case err != nil:
		return err
	case info.Mode().IsRegular() && info.Size() == 0:
		return os.Remove(o.Path)
	}
	f, err := openFile(o, &Found{})
	switch {
	case err == nil:
		_ = f.db.Close() // nothing was written
	case errors.Is(err, bolterrors.ErrTimeout):
		return errors.New("another process uses the file in its place")
	}
	_, err = setAside(o.Path)
	return err
}
