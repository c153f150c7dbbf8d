package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/filewatch"
)

// Resolver looks up a host's addresses; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// source is where the pods of a service come from, if not from the
// configuration itself. What is believed of its answers is the feed's to decide,
// for all kinds alike.
type source interface {
	// settle waits, before a first reading, until the source is not being changed.
	settle(ctx context.Context)
	read(ctx context.Context) ([]statefulroute.Pod, error)
	// follow calls look when there may be something new to read, until ctx ends.
	// look does not wait. unwatched is told why changes are seen late only.
	follow(ctx context.Context, look func(), unwatched func(error))
}

// SourceName tells sources apart: two of one name say the same. It is empty for
// a static list.
func SourceName(p statefulroute.PodSource) string {
	switch {
	case p.File != "":
		return "file " + p.File
	case p.DNS != nil:
		return "dns " + net.JoinHostPort(p.DNS.Host, strconv.Itoa(int(p.DNS.Port)))
	}
	return ""
}

// fileSource is a file that holds the list.
type fileSource string

// settlePatience bounds that wait: a start or a reload waits with it.
const settlePatience = 5 * time.Second

func (f fileSource) settle(ctx context.Context) {
	filewatch.Settled(ctx, string(f), settlePatience)
}

func (f fileSource) read(context.Context) ([]statefulroute.Pod, error) {
	return config.LoadPods(string(f))
}

func (f fileSource) follow(ctx context.Context, look func(), unwatched func(error)) {
	filewatch.Follow(ctx, string(f), look, unwatched)
}

// dnsSource takes the addresses of a name as pods. A name that does not exist is
// a failure, not an empty list: DNS says so of every name while it is confused.
type dnsSource struct {
	statefulroute.DNSSource
	resolver Resolver
	interval time.Duration
}

func (d dnsSource) settle(context.Context) {}

// read names pods by their address: DNS knows no better name.
func (d dnsSource) read(ctx context.Context) ([]statefulroute.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addrs, err := d.resolver.LookupNetIP(ctx, "ip", d.Host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", d.Host, err)
	}
	pods := make([]statefulroute.Pod, 0, len(addrs))
	for _, a := range addrs {
		ap := netip.AddrPortFrom(a.Unmap(), d.Port)
		pods = append(pods, statefulroute.Pod{Name: ap.String(), Address: ap, Weight: 1})
	}
	slices.SortFunc(pods, func(a, b statefulroute.Pod) int { return a.Address.Compare(b.Address) })
	return slices.Compact(pods), nil
}

func (d dnsSource) follow(ctx context.Context, look func(), _ func(error)) {
	every(ctx, d.interval, look)
}

func every(ctx context.Context, interval time.Duration, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
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

// Sources keeps the pods of services that name a file or a DNS host up to date.
// Its methods but Change and Stop, which have one caller, are safe for
// concurrent use.
type Sources struct {
	Logger   *zap.Logger
	Resolver Resolver
	// DNSInterval is the time between two look-ups; 0 means 5s.
	DNSInterval time.Duration
	// Set is handed each new list of a service's pods and where it is from.
	// Required for Change.
	Set func(ctx context.Context, service string, from statefulroute.PodSource, pods []statefulroute.Pod) error
	// Kept are the last good lists of the run before: what is served of a source
	// that cannot be read yet, and against which its first answer is held.
	Kept map[string]KeptPods
	// Keeper keeps the last good lists; nil keeps none.
	Keeper PodKeeper

	services []statefulroute.Service // in force; only Change touches it

	mu    sync.Mutex
	feeds map[string]*feed // by service, of those in force
}

// of returns nil for a static source.
func (s *Sources) of(p statefulroute.PodSource) source {
	switch {
	case p.File != "":
		return fileSource(p.File)
	case p.DNS != nil:
		return dnsSource{*p.DNS, s.Resolver, cmp.Or(s.DNSInterval, 5*time.Second)}
	}
	return nil
}

// SourcesError means that services have no list of pods: their sources cannot be
// read, and never could be.
type SourcesError struct {
	// Files are the bad files.
	Files []string
	err   error
}

func (e *SourcesError) Error() string { return e.err.Error() }
func (e *SourcesError) Unwrap() error { return e.err }

// reads bounds the sources that are read at a time: a name may take two seconds
// to fail.
const reads = 32

// Load reads every source that is not static once. A file that cannot be read is
// an error; a name that does not resolve is logged, for DNS recovers by itself.
func (s *Sources) Load(ctx context.Context, services []statefulroute.Service) (map[string][]statefulroute.Pod, error) {
	feeds, err := s.prepare(ctx, services)
	return lists(feeds), err
}

func lists(feeds []*feed) map[string][]statefulroute.Pod {
	pods := map[string][]statefulroute.Pod{}
	for _, f := range feeds {
		if list := f.custody.served; list != nil {
			pods[f.service.Name] = list
		}
	}
	return pods
}

// prepare reads the sources of services for the first time.
func (s *Sources) prepare(ctx context.Context, services []statefulroute.Service) ([]*feed, error) {
	var feeds []*feed
	var group errgroup.Group
	group.SetLimit(reads)
	for _, svc := range services {
		if from := s.of(svc.Pods); from != nil {
			f := s.feed(svc, from)
			feeds = append(feeds, f)
			group.Go(func() error { f.begin(ctx); return nil })
		}
	}
	_ = group.Wait() // nothing fails: each feed has its own trouble
	return feeds, s.without(feeds)
}

// without judges the feeds that have no list at all.
func (s *Sources) without(feeds []*feed) error {
	var bad SourcesError
	for _, f := range feeds {
		switch {
		case f.failure == nil || f.custody.served != nil:
		case f.service.Pods.File != "":
			bad.Files = append(bad.Files, f.service.Pods.File)
			bad.err = errors.Join(bad.err, fmt.Errorf("pods of service %q: %w", f.service.Name, f.failure))
		default:
			s.Logger.Error("no pods yet", zap.String("service", f.service.Name), zap.Error(f.failure))
		}
	}
	if bad.err == nil {
		return nil
	}
	return &bad
}

// feed returns a feed that begins with what is known of the service's pods:
// from its source, or, until that can be read, from the one before.
func (s *Sources) feed(svc statefulroute.Service, from source) *feed {
	f := newFeed(s, svc, from)
	if before := s.feeds[svc.Name]; before != nil {
		f.inherit(before)
		return f
	}
	i := slices.IndexFunc(s.services, func(other statefulroute.Service) bool { return other.Name == svc.Name })
	if i >= 0 {
		f.fallBack(s.services[i].Pods.Static, time.Now())
	} else if kept, ok := s.Kept[svc.Name]; ok {
		f.restore(kept)
	}
	return f
}

// Change makes services those whose sources are followed. It reads those that
// are new, and calls apply with the lists of their pods. From then on nothing
// that a source of before says is heard: those that are not in services any more
// have ended. A service whose source cannot be read keeps the pods it has; with
// none, that is a *SourcesError. Any error leaves everything as it was.
func (s *Sources) Change(ctx context.Context, services []statefulroute.Service, apply func(pods map[string][]statefulroute.Pod) error) error {
	var fresh []statefulroute.Service
	stays := map[string]bool{}
	for _, svc := range services {
		if f := s.feeds[svc.Name]; f != nil && reflect.DeepEqual(f.service.Pods, svc.Pods) {
			stays[svc.Name] = true
		} else {
			fresh = append(fresh, svc)
		}
	}
	feeds, err := s.prepare(ctx, fresh)
	if err != nil {
		return err
	}
	var ended []*feed
	for name, f := range s.feeds {
		if !stays[name] {
			f.stop()
			ended = append(ended, f)
		}
	}
	if err := apply(lists(feeds)); err != nil {
		for _, f := range ended {
			f.start(ctx)
		}
		return err
	}
	s.take(ctx, services, ended, feeds)
	return nil
}

// take books a change that is in force.
func (s *Sources) take(ctx context.Context, services []statefulroute.Service, ended, begun []*feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services, s.Kept = services, nil
	if s.feeds == nil {
		s.feeds = map[string]*feed{}
	}
	for _, f := range ended {
		delete(s.feeds, f.service.Name)
	}
	for _, f := range begun {
		s.feeds[f.service.Name] = f
		f.keep(time.Now())
		f.start(ctx)
	}
	if s.Keeper != nil {
		s.Keeper.ForgetPods(func(service string) bool { return s.feeds[service] != nil })
	}
}

// Stop ends all sources and waits for their end.
func (s *Sources) Stop() {
	for _, f := range s.feeds {
		f.stop()
	}
}

// ErrNothingHeld means that there is no loss of pods to believe.
var ErrNothingHeld = errors.New("no loss of pods is held back")

// Accept believes at once that a service's source has lost pods.
func (s *Sources) Accept(ctx context.Context, service string) error {
	f := s.find(service)
	if f == nil {
		return fmt.Errorf("service %q: %w", service, ErrNothingHeld)
	}
	return f.accept(ctx)
}

// Status is how a service's source does; nil where its list is static.
func (s *Sources) Status(service string) *SourceStatus {
	f := s.find(service)
	if f == nil {
		return nil
	}
	return f.status(time.Now())
}

func (s *Sources) find(service string) *feed {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feeds[service]
}

// Summary counts the sources in each state, and has the greatest age of
// the lists that are not good.
func (s *Sources) Summary() (states map[string]int, age time.Duration) {
	s.mu.Lock()
	feeds := slices.Collect(maps.Values(s.feeds))
	s.mu.Unlock()
	states, now := map[string]int{}, time.Now()
	for _, f := range feeds {
		status := f.status(now)
		states[status.State]++
		age = max(age, time.Duration(status.Age*float64(time.Second)))
	}
	return states, age
}
