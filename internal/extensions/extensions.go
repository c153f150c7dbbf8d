// Package extensions is where a build of one's own adds what Stateful Route does
// not come with. xds-server, extproc, routectl and run all read this one place, so
// that a name which one of them accepts in a configuration is known to the others.
package extensions

import (
	"github.com/stateful-route/stateful-route/affinity/evict"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/xds/discovery"
)

// Set is what the names in a configuration stand for. A nil registry means what
// Stateful Route comes with.
type Set struct {
	// Balancing has what services[].balancing.strategy may name.
	Balancing *balancing.Registry
	// Eviction has what affinity.strategy may name.
	Eviction *evict.Registry
	// Pods has the kinds of sources that services[].pods may name.
	Pods *discovery.Registry
	// Rules join those that the analyzer comes with and the configured ones: they
	// watch what a Go function derives from what was observed.
	Rules []analysis.Rule
}

// All returns what Stateful Route comes with, and is where a build adds to it. The
// example of [Set] shows a line for each kind of addition.
func All() (Set, error) {
	return Set{Balancing: balancing.NewRegistry(), Eviction: evict.NewRegistry(), Pods: discovery.NewRegistry()}, nil
}

// Config has the reader of a configuration accept the names of the set.
func (s Set) Config() (known []config.Option) {
	if s.Balancing != nil {
		known = append(known, config.WithStrategies(s.Balancing))
	}
	if s.Eviction != nil {
		known = append(known, config.WithEvictionStrategies(s.Eviction.Names()...))
	}
	if s.Pods != nil {
		known = append(known, config.WithPodSources(s.Pods))
	}
	for _, rule := range s.Rules {
		known = append(known, config.WithRule(rule.Name))
	}
	return known
}
