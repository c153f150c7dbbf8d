package config

import (
	"fmt"
	"os"
	"reflect"
	"time"

	"github.com/stateful-route/stateful-route/affinity/evict"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
	"github.com/stateful-route/stateful-route/xds/discovery"
	"github.com/stateful-route/stateful-route/xds/secret"
)

// document is a configuration file, and what its names may stand for.
type document struct {
	*strictyaml.Document

	strategies         *balancing.Registry
	evictionStrategies []string
	pods               *discovery.Registry
	rules              []string // of the program, not the configuration

	kept     func(secret.Ref) bool
	secrets  map[string]*secret.Fault // of what was read already; nil: it is good
	badFiles []string                 // of certificates
}

// Option changes what a Load function accepts.
type Option func(*document)

// WithStrategies replaces the balancing strategies a service may name. The
// default is the built-in ones.
func WithStrategies(r *balancing.Registry) Option {
	return func(d *document) { d.strategies = r }
}

// WithPodSources replaces the kinds of sources that a service's pods may come from.
// The default is the built-in ones.
func WithPodSources(r *discovery.Registry) Option {
	return func(d *document) { d.pods = r }
}

// WithEvictionStrategies replaces the eviction strategies extproc may name.
// The default is the built-in ones.
func WithEvictionStrategies(names ...string) Option {
	return func(d *document) { d.evictionStrategies = names }
}

// WithRule names an analyzer rule that the program has of its own: a configured one
// may not have the same name.
func WithRule(name string) Option {
	return func(d *document) { d.rules = append(d.rules, name) }
}

// WithKeptSecrets has what is wrong in files of certificates pass where kept says that an
// earlier version is in force, which then stays. The default is that there is none.
func WithKeptSecrets(kept func(secret.Ref) bool) Option {
	return func(d *document) { d.kept = kept }
}

// FilesError means that a configuration is refused for what is wrong in files that it
// names: it may be good once one of them changed.
type FilesError struct {
	Files []string
	err   error
}

func (e *FilesError) Error() string { return e.err.Error() }
func (e *FilesError) Unwrap() error { return e.err }

// refused is why the file is refused; nil: it is good.
func (d *document) refused() error {
	if err := d.Err(); err != nil && len(d.badFiles) > 0 {
		return &FilesError{Files: d.badFiles, err: err}
	}
	return d.Err()
}

// decodeFile reads file into v (a pointer to a struct of pointers and values
// with yaml tags) and refuses unknown and doubled fields.
func decodeFile(file string, v any, opts []Option) (*document, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	doc := &document{
		strategies: balancing.NewRegistry(), evictionStrategies: evict.NewRegistry().Names(), pods: discovery.NewRegistry(),
		kept: func(secret.Ref) bool { return false }, secrets: map[string]*secret.Fault{},
	}
	for _, opt := range opts {
		opt(doc)
	}
	doc.Document, err = strictyaml.Decode(file, raw, v, strictyaml.Options{
		Late: map[reflect.Type]reflect.Type{
			reflect.TypeFor[rawPods]():   podFields(doc.pods.Kinds()),
			reflect.TypeFor[rawSource](): sourceFields(),
		},
	})
	return doc, err
}

type (
	path      = strictyaml.Path
	duration  = strictyaml.Duration
	oneOrMore = strictyaml.OneOrMore
)

// or returns *v, or the default where the field is absent.
func or[T any](v *T, absent T) T {
	if v == nil {
		return absent
	}
	return *v
}

// mostTimeout is a time that nobody outwaits, and below what Envoy can count.
const mostTimeout = 87600 * time.Hour

// envoyTimeout checks a time that Envoy counts in milliseconds, and for which 0
// means none: what is less than one would be none without a word.
func (d *document) envoyTimeout(at path, v time.Duration) {
	switch {
	case v < 0:
		d.Refuse(at, "must not be negative")
	case v != 0 && v < time.Millisecond:
		d.Refuse(at, "must be at least 1ms, or 0s for none")
	case v > mostTimeout:
		d.Refuse(at, "must be at most 87600h, ten years")
	}
}

// orDuration is or for durations.
func orDuration(v *duration, absent time.Duration) time.Duration {
	return time.Duration(or(v, duration(absent)))
}
