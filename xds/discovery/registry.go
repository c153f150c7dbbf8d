package discovery

import (
	"errors"
	"fmt"
	"slices"
)

// Kind is a kind of source.
type Kind struct {
	// Name is the field under `pods` that configures a source of this kind.
	Name string
	// Config returns an empty configuration, for YAML to be decoded into.
	Config func() Config
}

// Registry holds the kinds of sources that a configuration may name. It is not safe
// for concurrent use while kinds are registered.
type Registry struct{ kinds []Kind }

// NewRegistry returns a registry with the built-in kinds.
func NewRegistry() *Registry {
	return &Registry{[]Kind{
		{"file", func() Config { return new(File) }},
		{"dns", func() Config { return new(DNS) }},
		{"http", func() Config { return new(HTTP) }},
		{"kubernetes", func() Config { return new(Kubernetes) }},
	}}
}

// Register adds a kind.
func (r *Registry) Register(k Kind) error {
	if k.Name == "" || k.Config == nil {
		return errors.New("discovery: a kind needs a name and a configuration")
	}
	if slices.Contains([]string{"static", "hold"}, k.Name) || slices.ContainsFunc(r.kinds, func(have Kind) bool { return have.Name == k.Name }) {
		return fmt.Errorf("discovery: kind %q is already registered", k.Name)
	}
	r.kinds = append(r.kinds, k)
	return nil
}

// Kinds returns the kinds in the order in which they were registered.
func (r *Registry) Kinds() []Kind { return slices.Clone(r.kinds) }
