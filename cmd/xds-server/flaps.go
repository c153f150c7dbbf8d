package main

import (
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/xds/state"
)

// flaps counts how often pods began to fail their health checks in the last minute.
type flaps struct {
	mu   sync.Mutex
	pods map[analysis.Scope]*flaky // those that failed
}

// flaky is a pod that failed a probe.
type flaky struct {
	failing bool
	began   []time.Time // the latest times it began to, at most mostFlaps
}

const (
	flapWindow = time.Minute
	// mostFlaps is more than a pod can begin to fail in a minute unless it is probed
	// more than four times a second.
	mostFlaps = 128
)

func newFlaps() *flaps { return &flaps{pods: map[analysis.Scope]*flaky{}} }

// probed books the result of a probe.
func (f *flaps) probed(now time.Time, service, pod string, healthy bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	scope := analysis.Scope{Service: service, Pod: pod}
	p := f.pods[scope]
	switch {
	case p == nil && healthy:
		return
	case p == nil:
		p = &flaky{}
		f.pods[scope] = p
	}
	if !healthy && !p.failing {
		if len(p.began) == mostFlaps {
			p.began = append(p.began[:0], p.began[1:]...)
		}
		p.began = append(p.began, now)
	}
	p.failing = !healthy
}

// countInto adds the pods' flaps to a sample, and forgets pods that are not part of
// it or have been well for long enough.
func (f *flaps) countInto(now time.Time, services []*state.ServiceView, sample map[string]analysis.ServiceSample) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pods) == 0 {
		return
	}
	kept := make(map[analysis.Scope]*flaky, len(f.pods))
	for _, svc := range services {
		for _, m := range svc.Members {
			scope := analysis.Scope{Service: svc.Name, Pod: m.Name}
			p := f.pods[scope]
			if p == nil {
				continue
			}
			for len(p.began) > 0 && now.Sub(p.began[0]) > flapWindow {
				p.began = p.began[1:]
			}
			if len(p.began) == 0 && !p.failing {
				continue
			}
			kept[scope] = p
			pod := sample[svc.Name].Pods[m.Name]
			pod.Flaps = len(p.began)
			sample[svc.Name].Pods[m.Name] = pod
		}
	}
	f.pods = kept
}
