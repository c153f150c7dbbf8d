package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/internal/filewatch"
)

// Manager keeps the secrets that are in force equal to their files, or, where a file is
// bad, to its last good version. Its methods but Run, Change and Stop are safe for
// concurrent use; Change and Stop have one caller.
type Manager struct {
	Logger *zap.Logger
	// Set is handed all secrets by their names after one of them changed. Required for
	// Run.
	Set func(ctx context.Context, secrets map[string]*Secret) error
	// Reloaded hears of every new version of a file, and whether it was good. Required
	// for Run.
	Reloaded func(good bool)

	once sync.Once
	due  chan struct{}

	mu      sync.Mutex
	entries map[string]*entry // by name

	followers map[string]*follower // by file; only Change and Stop touch them
}

// entry is one secret.
type entry struct {
	ref    Ref
	secret *Secret
	// failure is why the files' newest version is not in force, failing since when.
	failure *Fault
	failing time.Time
	told    string // of failure, in the log
	warned  string // of the secret in force, in the log
}

// follower watches one file.
type follower struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// The pauses of Run.
const (
	// replaceTime is how long a certificate and its key may take to be replaced one
	// after the other: until then a pair that does not fit is no news.
	replaceTime = 2 * time.Second
	// lookAgain is for what no watch tells: another mode of a file, a change behind a
	// link.
	lookAgain = 30 * time.Second
)

// Errors are the faults of several secrets.
type Errors struct {
	// Files are the bad files, where there are such.
	Files []string
	err   error
}

func (e *Errors) Error() string { return e.err.Error() }
func (e *Errors) Unwrap() error { return e.err }

func (m *Manager) init() {
	m.once.Do(func() {
		m.due = make(chan struct{}, 1)
		m.entries, m.followers = map[string]*entry{}, map[string]*follower{}
	})
}

// Read reads all secrets once.
func Read(refs []Ref) (map[string]*Secret, error) {
	entries, err := (&Manager{}).read(refs)
	return secrets(entries), err
}

func secrets(entries map[string]*entry) map[string]*Secret {
	out := make(map[string]*Secret, len(entries))
	for name, e := range entries {
		out[name] = e.secret
	}
	return out
}

// Keeps reports whether there is a good version of a secret that can stand in for its
// files while they are bad.
func (m *Manager) Keeps(r Ref) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept(r) != nil
}

func (m *Manager) kept(r Ref) *entry {
	e := m.entries[r.Name()]
	if e == nil || len(r.Hosts) > 0 && e.secret.covers(r.Hosts) != "" {
		return nil
	}
	return e
}

// read reads each secret; one whose files are bad stays as it is, if it is there.
func (m *Manager) read(refs []Ref) (map[string]*entry, error) {
	entries := make(map[string]*entry, len(refs))
	var bad Errors
	for _, r := range refs {
		next := &entry{ref: r}
		kept := m.kept(r)
		if kept != nil {
			*next = *kept
			next.ref = r
		}
		read, fault := r.Read()
		switch {
		case fault == nil && kept == nil:
			next.secret = read
		case fault == nil && !kept.outlives(read, time.Now()):
			next.failure = nil
			if !read.same(kept.secret) {
				next.secret = read
			}
		case kept == nil:
			bad.Files = append(bad.Files, r.files()...)
			bad.err = errors.Join(bad.err, fmt.Errorf("%s: %w", fault.Field, fault))
		}
		entries[r.Name()] = next
	}
	if bad.err != nil {
		return nil, &bad
	}
	return entries, nil
}

// outlives reports whether a secret that is in force is better than what its files hold
// now: one that is valid is not given up for one that is not.
func (e *entry) outlives(read *Secret, now time.Time) bool {
	return e.secret.valid(now) && !read.valid(now)
}

// Change makes refs the secrets that are followed. It reads them and calls apply with
// what is in force from then on: where files are bad, what was good before. Where
// nothing was, that is an *Errors. Any error leaves everything as it was.
func (m *Manager) Change(ctx context.Context, refs []Ref, apply func(map[string]*Secret) error) error {
	m.init()
	m.mu.Lock()
	defer m.mu.Unlock()
	entries, err := m.read(refs)
	if err != nil {
		return err
	}
	if err := apply(secrets(entries)); err != nil {
		return err
	}
	m.entries = entries
	m.follow(ctx)
	m.signal()
	return nil
}

// follow watches the files of the entries, and no other any more.
func (m *Manager) follow(ctx context.Context) {
	wanted := map[string]bool{}
	for _, e := range m.entries {
		for _, file := range e.ref.files() {
			wanted[file] = true
			if m.followers[file] == nil {
				m.followers[file] = m.watch(ctx, file)
			}
		}
	}
	for file, f := range m.followers {
		if !wanted[file] {
			f.stop()
			delete(m.followers, file)
		}
	}
}

func (m *Manager) watch(ctx context.Context, file string) *follower {
	f := &follower{}
	ctx, f.cancel = context.WithCancel(ctx)
	f.group.Go(func() {
		filewatch.Follow(ctx, file, m.signal, func(err error) {
			m.Logger.Error("a file of certificates is looked at now and then only", zap.Error(err))
		})
	})
	return f
}

func (f *follower) stop() {
	f.cancel()
	f.group.Wait()
}

// Stop ends the watches and waits for their end.
func (m *Manager) Stop() {
	for _, f := range m.followers {
		f.stop()
	}
}

// signal never waits.
func (m *Manager) signal() {
	select {
	case m.due <- struct{}{}:
	default:
	}
}

// Run puts new versions of the files into force until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	m.init()
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.due:
		case <-timer.C:
		}
		timer.Reset(m.reload(ctx, time.Now()))
	}
}

// reload reads all files and returns when to do it again at the latest.
func (m *Manager) reload(ctx context.Context, now time.Time) (again time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	again = lookAgain
	next, changed := maps.Clone(m.entries), map[string]*entry{}
	for name, e := range m.entries {
		n := e.again(now)
		if next[name] = n; n.secret != e.secret {
			changed[name] = n
		}
		if n.failure != nil && now.Sub(n.failing) < replaceTime {
			again = replaceTime
		}
	}
	if len(changed) > 0 {
		if err := m.Set(ctx, secrets(next)); err != nil {
			if ctx.Err() == nil {
				m.Logger.Error("new certificates are not in force", zap.Error(err))
			}
			return replaceTime
		}
	}
	m.entries = next
	m.tell(now, changed)
	return again
}

// again is the entry after its files were read anew.
func (e *entry) again(now time.Time) *entry {
	n := *e
	read, fault := e.ref.Read()
	if fault == nil && e.outlives(read, now) {
		fault = &Fault{Field: "cert", File: e.ref.files()[0], Err: fmt.Errorf("%s %s, and the one in force is valid", e.ref.files()[0], read.Warning(now))}
	}
	if fault != nil {
		if n.failure == nil {
			n.failing = now
		}
		n.failure = fault
		return &n
	}
	n.failure, n.told = nil, ""
	if !read.same(e.secret) {
		n.secret = read
	}
	return &n
}

func (s *Secret) same(other *Secret) bool {
	return bytes.Equal(s.certificates, other.certificates) && bytes.Equal(s.key, other.key)
}

// tell says in the log, once, what is new of the entries.
func (m *Manager) tell(now time.Time, changed map[string]*entry) {
	for _, name := range slices.Sorted(maps.Keys(m.entries)) {
		e := m.entries[name]
		if changed[name] != nil {
			m.Reloaded(true)
			m.Logger.Info("certificates reloaded", zap.Strings("files", e.ref.files()), zap.Time("expires", e.secret.notAfter))
		}
		if problem := e.problem(now); problem != e.told {
			if e.told = problem; problem != "" {
				m.Reloaded(false)
				m.Logger.Error("new certificates are bad: the last good ones stay", zap.String("reason", problem))
			}
		}
		if warning := e.secret.Warning(now); warning != e.warned {
			if e.warned = warning; warning != "" {
				m.Logger.Warn("a certificate needs to be renewed", zap.Strings("files", e.ref.files()), zap.String("reason", warning))
			}
		}
	}
}

// problem is why the files are not in force; empty: they are, or may be in a moment.
func (e *entry) problem(now time.Time) string {
	if e.failure == nil || now.Sub(e.failing) < replaceTime {
		return ""
	}
	return e.failure.Error()
}

// Status is how one secret does.
type Status struct {
	// Files are what the configuration names, the certificate first; none: the
	// system's authorities.
	Files []string `json:"files"`
	// Authorities tells authorities from a certificate.
	Authorities bool `json:"authorities"`
	// Hosts are those that the configuration has the certificate for.
	Hosts []string `json:"hosts,omitempty"`
	// Expires is the end of what is in force; zero: it has none.
	Expires time.Time `json:"expires,omitzero"`
	// Error is why the files' newest version is not in force, Warning what is about to
	// be wrong with what is.
	Error   string `json:"error,omitempty"`
	Warning string `json:"warning,omitempty"`
}

// Status returns how the secrets do, in the order of their names.
func (m *Manager) Status(now time.Time) []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []Status{}
	for _, name := range slices.Sorted(maps.Keys(m.entries)) {
		e := m.entries[name]
		out = append(out, Status{
			Files: e.ref.files(), Authorities: e.ref.Authorities, Hosts: e.ref.Hosts, Expires: e.secret.notAfter,
			Error: e.problem(now), Warning: e.secret.Warning(now),
		})
	}
	return out
}

// Degraded says, a line each, what of the secrets is wrong, or about to be.
func (m *Manager) Degraded(now time.Time) []string {
	var out []string
	for _, s := range m.Status(now) {
		if s.Error != "" {
			out = append(out, "certificates stay as they were: "+s.Error)
		}
		if s.Warning != "" {
			out = append(out, s.Files[0]+" "+s.Warning)
		}
	}
	return out
}
