package evict

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Registry knows strategies by name.
type Registry struct {
	mu     sync.Mutex
	byName map[string]func() Strategy
}

// NewRegistry returns a registry with the built-in strategies: lru, lfu, ttl
// and adaptive.
func NewRegistry() *Registry {
	return &Registry{byName: map[string]func() Strategy{
		"lru":      func() Strategy { return lruStrategy{} },
		"lfu":      func() Strategy { return lfuStrategy{} },
		"ttl":      func() Strategy { return ttlStrategy{} },
		"adaptive": newAdaptive,
	}}
}

// Register adds a strategy; build is called once for each table. A name that is
// empty or taken is an error.
func (r *Registry) Register(name string, build func() Strategy) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name == "" || build == nil {
		return errors.New("affinity: a strategy needs a name and a constructor")
	}
	if _, taken := r.byName[name]; taken {
		return fmt.Errorf("affinity: strategy %q is registered already", name)
	}
	r.byName[name] = build
	return nil
}

// Names lists the strategies in alphabetical order.
func (r *Registry) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.byName))
}

// New makes the strategy of a name.
func (r *Registry) New(name string) (Strategy, error) {
	r.mu.Lock()
	build := r.byName[name]
	r.mu.Unlock()
	if build == nil {
		return nil, fmt.Errorf("affinity: unknown strategy %q (known: %s)", name, strings.Join(r.Names(), ", "))
	}
	return build(), nil
}
