package xds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/config"
)

// Resolver looks up a host's addresses; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Sources keeps the pods of services that name a file or a DNS host up to date.
type Sources struct {
	Logger   *zap.Logger
	Resolver Resolver
	// DNSInterval is the time between two look-ups; 0 means 5s.
	DNSInterval time.Duration
}

// Load reads every source that is not static once, so that a server starts
// with its pods. A file that cannot be read is an error; a name that does not
// resolve is logged, for DNS recovers by itself.
func (s *Sources) Load(ctx context.Context, services []statefulroute.Service) (map[string][]statefulroute.Pod, error) {
	pods := map[string][]statefulroute.Pod{}
	var errs []error
	for _, svc := range services {
		list, err := s.read(ctx, svc.Pods)
		switch {
		case err == nil && list != nil:
			pods[svc.Name] = list
		case err != nil && svc.Pods.DNS != nil:
			s.Logger.Error("no pods yet", zap.String("service", svc.Name), zap.Error(err))
		case err != nil:
			errs = append(errs, fmt.Errorf("pods of service %q: %w", svc.Name, err))
		}
	}
	return pods, errors.Join(errs...)
}

// Run follows the sources and hands each new list to set, until ctx ends. A
// list that cannot be read is logged and the last one stays; the trouble of one
// source is not that of another.
func (s *Sources) Run(ctx context.Context, services []statefulroute.Service, set func(service string, pods []statefulroute.Pod) error) {
	var group sync.WaitGroup
	defer group.Wait()
	for _, svc := range services {
		update := func() { s.update(ctx, svc, set) }
		switch {
		case svc.Pods.File != "":
			group.Go(func() {
				config.Follow(ctx, svc.Pods.File, update, func(err error) {
					s.Logger.Error("pods are looked for now and then only", zap.String("service", svc.Name), zap.Error(err))
				})
			})
		case svc.Pods.DNS != nil:
			group.Go(func() { every(ctx, cmp.Or(s.DNSInterval, 5*time.Second), update) })
		}
	}
}

func (s *Sources) update(ctx context.Context, svc statefulroute.Service, set func(string, []statefulroute.Pod) error) {
	pods, err := s.read(ctx, svc.Pods)
	if err == nil {
		err = set(svc.Name, pods)
	}
	if err != nil && ctx.Err() == nil {
		s.Logger.Error("pods not updated: the last list stays", zap.String("service", svc.Name), zap.Error(err))
	}
}

// read returns nil without an error for a static source.
func (s *Sources) read(ctx context.Context, source statefulroute.PodSource) ([]statefulroute.Pod, error) {
	switch {
	case source.File != "":
		return config.LoadPods(source.File)
	case source.DNS != nil:
		return s.resolve(ctx, *source.DNS)
	default:
		return nil, nil
	}
}

// resolve names pods by their address: DNS knows no better name.
func (s *Sources) resolve(ctx context.Context, source statefulroute.DNSSource) ([]statefulroute.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	addrs, err := s.Resolver.LookupNetIP(ctx, "ip", source.Host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", source.Host, err)
	}
	pods := make([]statefulroute.Pod, 0, len(addrs))
	for _, a := range addrs {
		ap := netip.AddrPortFrom(a.Unmap(), source.Port)
		pods = append(pods, statefulroute.Pod{Name: ap.String(), Address: ap, Weight: 1})
	}
	slices.SortFunc(pods, func(a, b statefulroute.Pod) int { return a.Address.Compare(b.Address) })
	return slices.Compact(pods), nil
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
