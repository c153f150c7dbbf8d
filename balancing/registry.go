package balancing

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Strategy chooses a pod. It is called by many goroutines at once and must not
// block; its own state, if any, belongs in atomics.
type Strategy interface {
	// Pick returns the index of the chosen pod in pods, or -1 to leave the
	// choice to the Balancer. A pod that is not Eligible may be returned, but the
	// Balancer then takes another. The key is the session's, "" when there is
	// none. pods must not be kept after Pick returns.
	Pick(key string, pods View) int
}

// Factory makes a strategy for one balancer.
type Factory func(Options) (Strategy, error)

// Registry finds strategies by the name that the configuration uses. It is filled
// before it is used: Register must not run concurrently with New.
type Registry struct {
	factories map[string]Factory
}

// NewRegistry returns a registry that holds the built-in strategies.
func NewRegistry() *Registry {
	return &Registry{factories: map[string]Factory{
		"round_robin":          newRoundRobin,
		"weighted_round_robin": newWeightedRoundRobin,
		"least_connections":    newLeastConnections,
		"least_response_time":  newLeastResponseTime,
		"peak_ewma":            newPeakEWMA,
		"prequal_hcl":          newPrequalHCL,
		"home_hcl":             newHomeHCL,
	}}
}

// Register adds a user's strategy. An empty name, a nil factory and a name that
// is taken are errors.
func (r *Registry) Register(name string, f Factory) error {
	if name == "" || f == nil {
		return errors.New("a strategy needs a name and a factory")
	}
	if _, taken := r.factories[name]; taken {
		return fmt.Errorf("strategy %q is already registered", name)
	}
	r.factories[name] = f
	return nil
}

// Names lists the registered strategies in alphabetical order.
func (r *Registry) Names() []string {
	return slices.Sorted(maps.Keys(r.factories))
}

func (r *Registry) build(opts Options) (Strategy, error) {
	f, ok := r.factories[opts.Strategy]
	if !ok {
		return nil, fmt.Errorf("unknown balancing strategy %q: the known ones are %s",
			opts.Strategy, strings.Join(r.Names(), ", "))
	}
	s, err := f(opts)
	if err != nil {
		return nil, fmt.Errorf("balancing strategy %q: %w", opts.Strategy, err)
	}
	return s, nil
}
