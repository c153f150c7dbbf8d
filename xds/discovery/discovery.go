// Package discovery finds the pods of services that do not list them in the
// configuration. Its seam is that of Prometheus' discovery: a [Config] is what stands
// under `pods` for one kind of source, and makes a [Discoverer], which sends the list
// of pods whenever it may have changed. What is believed of such a list is decided
// for all kinds alike, by the hold. A kind of one's own is a [Kind] in a [Registry].
package discovery

import (
	"context"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/dnsttl"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
)

// Config is the configuration of a source: a pointer to what YAML is decoded into, a
// struct whose fields have yaml tags, or a text.
type Config interface {
	statefulroute.PodDiscovery
	// Check refuses what cannot be, at is where the source is configured, and fills in
	// what is absent.
	Check(doc *strictyaml.Document, at strictyaml.Path)
	NewDiscoverer(Options) Discoverer
}

// Options are what a Discoverer may use.
type Options struct {
	Logger *zap.Logger
	// Resolver looks up names; nil means this system's.
	Resolver Resolver
}

// Resolver looks up a host's addresses of a network, ip4 or ip6, and says for how long
// the answer is true, also of one that there are none.
type Resolver interface {
	Lookup(ctx context.Context, network, host string) (dnsttl.Answer, error)
}

func (o Options) resolver() Resolver {
	if o.Resolver == nil {
		return new(dnsttl.Resolver)
	}
	return o.Resolver
}

// Discoverer follows one source.
type Discoverer interface {
	// Run sends what the source says, first at once and then whenever that may have
	// changed, until ctx ends. It may send the same again.
	Run(ctx context.Context, updates chan<- Update)
}

// Update is what a source says.
type Update struct {
	// Pods is the whole list: no pods is a list as well.
	Pods []statefulroute.Pod
	// Err is why the source cannot be read; Pods mean nothing then. A *FileError is a
	// fault of the configuration, anything else is expected to pass.
	Err error
	// Partial means that the list may lack pods that are there: each of those is kept
	// until the lists have lacked it for the hold.
	Partial bool
	// Watched lists are true until the next Update, others were true when they were
	// sent.
	Watched bool
}

// FileError means that a file which somebody wrote cannot be used.
type FileError struct {
	File string
	Err  error
}

func (e *FileError) Error() string { return e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// Send sends an update unless ctx ends first.
func Send(ctx context.Context, updates chan<- Update, u Update) {
	if ctx.Err() != nil { // what was cut short says nothing
		return
	}
	select {
	case updates <- u:
	case <-ctx.Done():
	}
}

// Poll is a Discoverer that asks at once, and again in every interval.
func Poll(interval time.Duration, ask func(context.Context) ([]statefulroute.Pod, error)) Discoverer {
	return poll{interval, ask}
}

type poll struct {
	interval time.Duration
	ask      func(context.Context) ([]statefulroute.Pod, error)
}

func (p poll) Run(ctx context.Context, updates chan<- Update) {
	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		pods, err := p.ask(ctx)
		Send(ctx, updates, Update{Pods: pods, Err: err})
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
