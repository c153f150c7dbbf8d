package extproc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/insight/tracing"
)

// cores returns the table and the balancer a decision works on: as they are
// or, where the request's span is kept, recording their steps in it.
func (x *exchange) cores() (Table, placer) {
	if !x.span.Recording() {
		return x.server.table, x.service.place
	}
	return &tracedTable{Table: x.server.table, span: x.span, hasher: x.server.hasher, now: x.server.now},
		&tracedPlacer{placer: x.service.place, span: x.span, service: x.service, now: x.server.now}
}

type tracedTable struct {
	Table
	span   tracing.RequestSpan
	hasher *keyHasher
	now    func() time.Time
}

func (t *tracedTable) Lookup(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	step := t.span.At(t.now())
	b, err := t.Table.Lookup(ctx, service, key, now)
	step.TableGet(t.hasher.hash(service, key), err == nil, b.Epoch)
	return b, err
}

func (t *tracedTable) Claim(ctx context.Context, service, key, pod string, most uint32, now time.Time) (statefulroute.Binding, error) {
	step := t.span.At(t.now())
	b, err := t.Table.Claim(ctx, service, key, pod, most, now)
	step.TableSet(t.hasher.hash(service, key), b.Epoch, failureOf(err))
	return b, err
}

func (t *tracedTable) Find(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	step := t.span.At(t.now())
	b, err := t.Table.Find(ctx, service, key, now)
	step.TableGet(t.hasher.hash(service, key), err == nil, b.Epoch)
	return b, err
}

func (t *tracedTable) Rebind(ctx context.Context, old statefulroute.Binding, to string, most uint32, now time.Time) (statefulroute.Binding, error) {
	return t.replace(old, to, func() (statefulroute.Binding, error) { return t.Table.Rebind(ctx, old, to, most, now) })
}

func (t *tracedTable) Reassign(ctx context.Context, old statefulroute.Binding, to string, now time.Time) (statefulroute.Binding, error) {
	return t.replace(old, to, func() (statefulroute.Binding, error) { return t.Table.Reassign(ctx, old, to, now) })
}

func (t *tracedTable) replace(old statefulroute.Binding, to string, do func() (statefulroute.Binding, error)) (statefulroute.Binding, error) {
	step := t.span.At(t.now())
	b, err := do()
	step.TableSet(t.hasher.hash(old.Service, old.Key), b.Epoch, failureOf(err))
	if err == nil {
		t.span.Event("rebound", to)
	}
	return b, err
}

// failureOf is an error of the table that its span is to show: that another writer
// was first is none.
func failureOf(err error) error {
	if errors.Is(err, statefulroute.ErrConflict) {
		return nil
	}
	return err
}

type tracedPlacer struct {
	placer
	span    tracing.RequestSpan
	service *service
	now     func() time.Time
}

func (p *tracedPlacer) Pick(now time.Time, key string, evict func(pod string) bool) (balancing.PickResult, error) {
	step := p.span.At(p.now())
	t, err := p.placer.Pick(now, key, evict)
	step.Select(p.service.policy.Name, len(p.service.pods), t.Pod(), err)
	return t, err
}

// metadataValue reads gRPC metadata, in which Envoy sends the trace context of
// its own span.
func metadataValue(ctx context.Context) func(string) string {
	return func(name string) string {
		if v := metadata.ValueFromIncomingContext(ctx, name); len(v) > 0 {
			return v[0]
		}
		return ""
	}
}
