package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/discovery"
)

// Persisted is what outlives a run of xds-server.
type Persisted struct {
	// Overrides are those in force.
	Overrides []Override
	// Pods are the last good lists of the services whose source is not static.
	Pods map[string]discovery.KeptPods
}

const (
	// stateLook is the pause between two looks at the file, and between two
	// attempts while it cannot be written.
	stateLook = 500 * time.Millisecond
	// stateRefresh is the pause between two writings that would change nothing
	// but when the lists were confirmed last.
	stateRefresh = time.Minute
	// savePatience bounds the wait of an override for its writing: a disk that hangs
	// must not hold up the operator's answer.
	savePatience = 2 * time.Second
)

// File keeps a Persisted in a file. What is to be kept is handed over and never
// waited for; one goroutine, Run, writes it, replacing the file in one step. It
// writes the file anew, too, when somebody else deleted, replaced or truncated
// it: what is in memory counts. Until it can be written, that is a state which
// Report is told of at each attempt. A nil File keeps nothing.
type File struct {
	path   string
	log    *zap.Logger
	report func(error)

	changed chan struct{} // there is an override to write

	mu      sync.Mutex
	state   Persisted
	version uint64 // of state
	minor   bool   // all that changed since it was written is when lists were confirmed
	tried   uint64 // the version that was to be written last
	err     error  // what came of it
	attempt chan struct{}

	// Owned by Run.
	onDisk  fs.FileInfo // as it was written; nil: never
	wrote   time.Time
	written uint64
}

// OpenFile reads the state of the run before, the format of earlier
// versions too, which held overrides alone. A file that cannot be read, or is
// damaged, is set aside as PATH.damaged, and the error says so: the File is
// good all the same. report hears how each attempt to write ended.
func OpenFile(path string, log *zap.Logger, report func(error)) (*File, Persisted, error) {
	state, err := readState(path)
	f := &File{
		path: path, log: log, report: report, changed: make(chan struct{}, 1),
		state: state.clone(), version: 1, attempt: make(chan struct{}),
	}
	return f, state, err
}

// Run writes what is to be kept until ctx ends, and then the last of it. It
// writes at once, so that a file which cannot be written shows at the start.
func (f *File) Run(ctx context.Context) error {
	ticker := time.NewTicker(stateLook)
	defer ticker.Stop()
	for {
		f.look(time.Now())
		select {
		case <-ctx.Done():
			f.mu.Lock()
			f.minor = false // the last confirmation is worth writing now
			f.mu.Unlock()
			f.look(time.Now())
			return nil
		case <-f.changed:
		case <-ticker.C:
		}
	}
}

// look writes the file where that is due.
func (f *File) look(now time.Time) {
	f.mu.Lock()
	state, version, minor, failed := f.state, f.version, f.minor, f.err != nil
	f.mu.Unlock()
	tampered := f.tampered()
	due := version != f.written && (!minor || now.Sub(f.wrote) >= stateRefresh)
	if !due && !failed && !tampered {
		return
	}
	if tampered && !failed {
		f.log.Warn("the state file was changed by somebody else: it is written anew", zap.String("file", f.path))
	}
	err := f.write(state)
	f.wrote = now
	if err == nil {
		f.written = version
	}
	f.note(version, err)
}

// note publishes how an attempt ended.
func (f *File) note(version uint64, err error) {
	f.mu.Lock()
	before := f.err
	f.tried, f.err = version, err
	if err == nil && f.version == version {
		f.minor = true // until something else changes
	}
	close(f.attempt)
	f.attempt = make(chan struct{})
	f.mu.Unlock()
	f.report(err)
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		f.log.Error("state cannot be written: what operators order now ends with this process, unless it can be later", zap.Error(err))
	case err == nil && before != nil:
		f.log.Info("state is written again", zap.String("file", f.path))
	}
}

// tampered reports whether the file is not what was written last.
func (f *File) tampered() bool {
	if f.onDisk == nil {
		return false
	}
	info, err := os.Lstat(f.path)
	return err != nil || !os.SameFile(info, f.onDisk) || info.Size() != f.onDisk.Size() || !info.ModTime().Equal(f.onDisk.ModTime())
}

// write replaces the file in one step, so that a crash leaves the old one or the new.
func (f *File) write(state Persisted) error {
	raw, err := state.encode()
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	next := f.path + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	_, err = file.Write(raw)
	info, statErr := file.Stat()
	err = errors.Join(err, statErr, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(next, f.path)
	}
	if err != nil {
		return fmt.Errorf("write state: %w", errors.Join(err, os.Remove(next)))
	}
	f.onDisk = info
	return syncFolder(filepath.Dir(f.path))
}

// syncFolder makes a renaming in the folder outlive a crash of the machine.
func syncFolder(folder string) error {
	dir, err := os.Open(folder)
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// Keep replaces the overrides that are kept. It does not wait.
func (f *File) Keep(overrides []Override) {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.state.Overrides = slices.Clone(overrides)
	f.changedLocked(false)
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// KeepPods replaces the list that is kept of a service's pods. It does not wait,
// and the list is written within half a second.
func (f *File) KeepPods(service string, kept discovery.KeptPods) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	before, ok := f.state.Pods[service]
	same := ok && before.Source == kept.Source && slices.Equal(before.Pods, kept.Pods)
	if same && before.Confirmed.Equal(kept.Confirmed) {
		return
	}
	f.state = f.state.clone() // the writer may be reading it
	f.state.Pods[service] = kept
	f.changedLocked(same)
}

// ForgetPods drops the lists of all services but those.
func (f *File) ForgetPods(but func(service string) bool) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	next := f.state.clone()
	for service := range f.state.Pods {
		if !but(service) {
			delete(next.Pods, service)
		}
	}
	if len(next.Pods) != len(f.state.Pods) {
		f.state = next
		f.changedLocked(false)
	}
}

func (f *File) changedLocked(minor bool) {
	f.version++
	f.minor = f.minor && minor
}

// Saved waits until all that was handed over so far has been written, or could
// not be, which is the error.
func (f *File) Saved(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, savePatience)
	defer cancel()
	f.mu.Lock()
	wanted := f.version
	f.mu.Unlock()
	for {
		f.mu.Lock()
		tried, err, attempt := f.tried, f.err, f.attempt
		f.mu.Unlock()
		if tried >= wanted {
			return err
		}
		select {
		case <-attempt:
		case <-ctx.Done():
			return fmt.Errorf("write state: not done after %v, the disk may hang", savePatience)
		}
	}
}

// Problem is why the file cannot be written at the moment; nil when it can.
func (f *File) Problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (s Persisted) clone() Persisted {
	pods := make(map[string]discovery.KeptPods, len(s.Pods))
	for service, kept := range s.Pods {
		pods[service] = kept
	}
	return Persisted{Overrides: s.Overrides, Pods: pods}
}

// stateVersion is of the file's format. Before it had one, it was a list of overrides.
const stateVersion = 1

// The file's format.
type (
	stateDoc struct {
		Version   int                `json:"version"`
		Overrides []Override         `json:"orders"`
		Pods      map[string]keptDoc `json:"pods"` // by service
	}
	keptDoc struct {
		Source    string    `json:"source"`
		Confirmed time.Time `json:"confirmed"`
		Pods      []podDoc  `json:"pods"`
	}
	podDoc struct {
		Name    string         `json:"name"`
		Address netip.AddrPort `json:"address"`
		Weight  uint32         `json:"weight"`
		Zone    string         `json:"zone,omitempty"`
	}
)

func (s Persisted) encode() ([]byte, error) {
	doc := stateDoc{Version: stateVersion, Overrides: s.Overrides, Pods: make(map[string]keptDoc, len(s.Pods))}
	if doc.Overrides == nil {
		doc.Overrides = []Override{}
	}
	for service, kept := range s.Pods {
		pods := make([]podDoc, len(kept.Pods))
		for i, p := range kept.Pods {
			pods[i] = podDoc{p.Name, p.Address, p.Weight, p.Zone}
		}
		doc.Pods[service] = keptDoc{kept.Source, kept.Confirmed.UTC(), pods}
	}
	raw, err := json.MarshalIndent(doc, "", " ")
	return append(raw, '\n'), err
}

// readState returns an empty state where there is none.
func readState(path string) (Persisted, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Persisted{}, nil
	}
	var state Persisted
	if err == nil {
		state, err = decodeState(raw)
	}
	if err != nil {
		aside := path + ".damaged"
		return Persisted{}, errors.Join(fmt.Errorf("the state in %s cannot be used, the file is set aside as %s: %w", path, aside, err), os.Rename(path, aside))
	}
	return state, nil
}

func decodeState(raw []byte) (Persisted, error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		var overrides []Override
		if err := json.Unmarshal(raw, &overrides); err != nil {
			return Persisted{}, err
		}
		return Persisted{Overrides: overrides}, checkOverrides(overrides)
	}
	var doc stateDoc
	if err := json.Unmarshal(raw, &doc); err != nil {
		return Persisted{}, err
	}
	if doc.Version != stateVersion {
		return Persisted{}, fmt.Errorf("format %d is not known, only %d", doc.Version, stateVersion)
	}
	state := Persisted{Overrides: doc.Overrides, Pods: make(map[string]discovery.KeptPods, len(doc.Pods))}
	for service, kept := range doc.Pods {
		pods := make([]statefulroute.Pod, len(kept.Pods))
		for i, p := range kept.Pods {
			if p.Name == "" || !p.Address.IsValid() || p.Weight == 0 {
				return Persisted{}, fmt.Errorf("pod %d of service %q is incomplete", i, service)
			}
			pods[i] = statefulroute.Pod{Name: p.Name, Address: p.Address, Weight: p.Weight, Zone: p.Zone}
		}
		state.Pods[service] = discovery.KeptPods{Source: kept.Source, Confirmed: kept.Confirmed, Pods: pods}
	}
	return state, checkOverrides(doc.Overrides)
}

func checkOverrides(overrides []Override) error {
	for _, o := range overrides {
		if state, err := statefulroute.ParsePodState(o.State); err != nil || state == statefulroute.Unhealthy {
			return fmt.Errorf("%q of pod %q of service %q is not an override", o.State, o.Pod, o.Service)
		}
	}
	return nil
}
