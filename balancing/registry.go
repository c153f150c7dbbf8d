package balancing

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Strategy chooses a pod. It is called by many goroutines at once: its own state, if
// any, belongs in atomics, or under a lock that is held for no more than the choice.
type Strategy interface {
	// Pick returns the index of the chosen pod in pods, or -1 to leave the
	// choice to the Balancer. A pod that is not Eligible may be returned, but the
	// Balancer then takes another. The key is the session's, "" when there is
	// none. pods must not be kept after Pick returns.
	Pick(key string, pods View) int
}

// Factory makes a strategy for one balancer.
type Factory func(Options) (Strategy, error)

// Traits are what the parts around a strategy have to know of it. The zero value
// suits a strategy that looks at load and has no homes.
type Traits struct {
	// FixedWeights says that pods are to keep their configured weights whatever the
	// load, as under a round robin: unbound requests go by Envoy's ROUND_ROBIN and not
	// by LEAST_REQUEST over weights that follow the load.
	FixedWeights bool
	// Homes says that a session goes to its key's home where that is possible, so
	// that the share of sessions elsewhere is worth reporting.
	Homes bool
}

// Registry finds strategies by the name that the configuration uses. It is filled
// before it is used: Register must not run concurrently with New.
type Registry struct {
	byName map[string]registered
}

type registered struct {
	build  Factory
	traits Traits
}

// NewRegistry returns a registry that holds the built-in strategies.
func NewRegistry() *Registry {
	return &Registry{byName: map[string]registered{
		"round_robin":          {newRoundRobin, Traits{FixedWeights: true}},
		"weighted_round_robin": {newWeightedRoundRobin, Traits{FixedWeights: true}},
		"least_connections":    {newLeastConnections, Traits{}},
		"least_response_time":  {newLeastResponseTime, Traits{}},
		"peak_ewma":            {newPeakEWMA, Traits{}},
		"prequal_hcl":          {newPrequalHCL, Traits{}},
		"home_hcl":             {newHomeHCL, Traits{Homes: true}},
	}}
}

// Register adds a user's strategy. An empty name, a nil factory and a name that
// is taken are errors.
func (r *Registry) Register(name string, f Factory, traits Traits) error {
	if name == "" || f == nil {
		return errors.New("a strategy needs a name and a factory")
	}
	if _, taken := r.byName[name]; taken {
		return fmt.Errorf("strategy %q is already registered", name)
	}
	r.byName[name] = registered{f, traits}
	return nil
}

// Names lists the registered strategies in alphabetical order.
func (r *Registry) Names() []string {
	return slices.Sorted(maps.Keys(r.byName))
}

// Traits returns the traits of the strategy called name; ok is false when there is
// none.
func (r *Registry) Traits(name string) (t Traits, ok bool) {
	s, ok := r.byName[name]
	return s.traits, ok
}

func (r *Registry) build(opts Options) (Strategy, error) {
	found, ok := r.byName[opts.Strategy]
	if !ok {
		return nil, fmt.Errorf("unknown balancing strategy %q: the known ones are %s",
			opts.Strategy, strings.Join(r.Names(), ", "))
	}
	s, err := found.build(opts)
	if err != nil {
		return nil, fmt.Errorf("balancing strategy %q: %w", opts.Strategy, err)
	}
	return s, nil
}
