package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	statefulroute "github.com/stateful-route/stateful-route"
)

// SourceName tells sources apart: two of one name say the same. It is empty for
// a static list.
func SourceName(p statefulroute.PodSource) string {
	if p.Discovery == nil {
		return ""
	}
	return p.Discovery.String()
}

// KeptPods is the last good list of a service's pods.
type KeptPods struct {
	// Source is which source said so, see SourceName.
	Source string
	// Confirmed is when the source said so last.
	Confirmed time.Time
	Pods      []statefulroute.Pod
}

// PodKeeper keeps the last good lists over a restart. It must not wait.
type PodKeeper interface {
	KeepPods(service string, kept KeptPods)
	ForgetPods(but func(service string) bool)
}

// Manager keeps the pods of services that do not list them up to date. Its methods
// but Change and Stop, which have one caller, are safe for concurrent use.
type Manager struct {
	Logger *zap.Logger
	// Resolver looks up names; nil means this system's.
	Resolver Resolver
	// Set is handed each new list of a service's pods and where it is from.
	// Required for Change.
	Set func(ctx context.Context, service string, from statefulroute.PodSource, pods []statefulroute.Pod) error
	// Kept are the last good lists of the run before: what is served of a source
	// that cannot be read yet, and against which its first list is held.
	Kept map[string]KeptPods
	// Keeper keeps the last good lists; nil keeps none.
	Keeper PodKeeper

	services []statefulroute.Service // in force; only Change touches it

	mu        sync.Mutex
	followers map[string]*follower // by service, of those in force
}

// SourcesError means that services have no list of pods: their sources are files that
// cannot be read, and never could be.
type SourcesError struct {
	// Files are the bad files.
	Files []string
	err   error
}

func (e *SourcesError) Error() string { return e.err.Error() }
func (e *SourcesError) Unwrap() error { return e.err }

// reads bounds the sources that are read at a time: a name may take seconds to fail.
const reads = 32

// Load reads every source that is not static once. A file that cannot be read is
// an error; what is expected to pass is logged.
func (m *Manager) Load(ctx context.Context, services []statefulroute.Service) (map[string][]statefulroute.Pod, error) {
	followers, err := m.prepare(ctx, services)
	stop(followers)
	return lists(followers), err
}

func stop(followers []*follower) {
	for _, f := range followers {
		f.stop()
	}
}

func lists(followers []*follower) map[string][]statefulroute.Pod {
	pods := map[string][]statefulroute.Pod{}
	for _, f := range followers {
		if list := f.hold.served; list != nil {
			pods[f.service.Name] = list
		}
	}
	return pods
}

// prepare reads the sources of services for the first time.
func (m *Manager) prepare(ctx context.Context, services []statefulroute.Service) ([]*follower, error) {
	var followers []*follower
	var group errgroup.Group
	group.SetLimit(reads)
	for _, svc := range services {
		if from, ok := svc.Pods.Discovery.(Config); ok {
			f := m.follower(svc, from)
			followers = append(followers, f)
			group.Go(func() error { f.begin(ctx); return nil })
		}
	}
	_ = group.Wait() // nothing fails: each follower has its own trouble
	return followers, m.without(followers)
}

// without judges the followers that have no list at all.
func (m *Manager) without(followers []*follower) error {
	var bad SourcesError
	for _, f := range followers {
		var file *FileError
		switch {
		case f.failure == nil || f.hold.served != nil:
		case errors.As(f.failure, &file):
			bad.Files = append(bad.Files, file.File)
			bad.err = errors.Join(bad.err, fmt.Errorf("pods of service %q: %w", f.service.Name, f.failure))
		default:
			m.Logger.Error("no pods yet", zap.String("service", f.service.Name), zap.Error(f.failure))
		}
	}
	if bad.err == nil {
		return nil
	}
	return &bad
}

// follower returns a follower that begins with what is known of the service's pods:
// from its source, or, until that can be read, from the one before.
func (m *Manager) follower(svc statefulroute.Service, from Config) *follower {
	f := newFollower(m, svc, from)
	if before := m.followers[svc.Name]; before != nil {
		f.inherit(before)
		return f
	}
	i := slices.IndexFunc(m.services, func(other statefulroute.Service) bool { return other.Name == svc.Name })
	if i >= 0 {
		f.fallBack(m.services[i].Pods.Static, time.Now())
	} else if kept, ok := m.Kept[svc.Name]; ok {
		f.restore(kept)
	}
	return f
}

// Change makes services those whose sources are followed. It reads those that
// are new, and calls apply with the lists of their pods. From then on nothing
// that a source of before says is heard: those that are not in services any more
// have ended. A service whose source cannot be read keeps the pods it has; with
// none, that is a *SourcesError. Any error leaves everything as it was.
func (m *Manager) Change(ctx context.Context, services []statefulroute.Service, apply func(pods map[string][]statefulroute.Pod) error) error {
	var fresh []statefulroute.Service
	stays := map[string]bool{}
	for _, svc := range services {
		if f := m.followers[svc.Name]; f != nil && reflect.DeepEqual(f.service.Pods, svc.Pods) {
			stays[svc.Name] = true
		} else {
			fresh = append(fresh, svc)
		}
	}
	followers, err := m.prepare(ctx, fresh)
	if err != nil {
		stop(followers)
		return err
	}
	var ended []*follower
	for name, f := range m.followers {
		if !stays[name] {
			f.stop()
			ended = append(ended, f)
		}
	}
	if err := apply(lists(followers)); err != nil {
		stop(followers)
		for _, f := range ended {
			f.start(ctx)
		}
		return err
	}
	m.take(ctx, services, ended, followers)
	return nil
}

// take books a change that is in force.
func (m *Manager) take(ctx context.Context, services []statefulroute.Service, ended, begun []*follower) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.services, m.Kept = services, nil
	if m.followers == nil {
		m.followers = map[string]*follower{}
	}
	for _, f := range ended {
		delete(m.followers, f.service.Name)
	}
	for _, f := range begun {
		m.followers[f.service.Name] = f
		f.keep(time.Now())
		f.start(ctx)
	}
	if m.Keeper != nil {
		m.Keeper.ForgetPods(func(service string) bool { return m.followers[service] != nil })
	}
}

// Stop ends all sources and waits for their end.
func (m *Manager) Stop() { stop(slices.Collect(maps.Values(m.followers))) }

// ErrNothingHeld means that there is no loss of pods to believe.
var ErrNothingHeld = errors.New("no loss of pods is held back")

// Accept believes at once that a service's source has lost pods.
func (m *Manager) Accept(ctx context.Context, service string) error {
	f := m.find(service)
	if f == nil {
		return fmt.Errorf("service %q: %w", service, ErrNothingHeld)
	}
	return f.acceptLoss(ctx)
}

// Status is how a service's source does; nil where its list is static.
func (m *Manager) Status(service string) *Status {
	f := m.find(service)
	if f == nil {
		return nil
	}
	return f.status(time.Now())
}

func (m *Manager) find(service string) *follower {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.followers[service]
}

// Summary counts the sources in each state, and has the greatest age of
// the lists that are not good.
func (m *Manager) Summary() (states map[string]int, age time.Duration) {
	m.mu.Lock()
	followers := slices.Collect(maps.Values(m.followers))
	m.mu.Unlock()
	states, now := map[string]int{}, time.Now()
	for _, f := range followers {
		status := f.status(now)
		states[status.State]++
		age = max(age, time.Duration(status.Age*float64(time.Second)))
	}
	return states, age
}
