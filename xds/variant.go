package xds

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/build"
	"github.com/stateful-route/stateful-route/xds/state"
)

// variant is what listeners differ in between two Envoys, as their nodes ask for it. The
// zero value is what everybody gets who asks for nothing.
type variant = build.FastPath

// maxVariants bounds the variants that are kept beside the zero one: each is built for
// every change. An Envoy beyond them gets the zero one.
const maxVariants = 16

// errTooManyVariants is why an Envoy gets the zero variant that asks for another.
var errTooManyVariants = fmt.Errorf("more than %d different modules and tables are in use", maxVariants)

// variantOf reads from a node which variant it asks for. What it says badly is an error,
// and the zero variant.
func variantOf(node *corev3.Node) (variant, error) {
	asked := node.GetMetadata().GetFields()[wire.Namespace].GetStructValue().GetFields()
	v := variant{Module: asked["module"].GetStringValue(), Table: asked["table"].GetStringValue()}
	if asked["module"] == nil && asked["table"] == nil {
		return variant{}, nil
	}
	for field, file := range map[string]string{"module": v.Module, "table": v.Table} {
		if !filepath.IsAbs(file) || strings.ContainsRune(file, 0) {
			return variant{}, fmt.Errorf("node.metadata.%s.%s: %q is not an absolute path", wire.Namespace, field, file)
		}
	}
	return v, nil
}

// variants are the tables of listeners for Envoys that are given a variant. One is made
// when the first such Envoy asks, and kept for as long as one is connected. Its owner is
// caches, under its lock.
type variants struct {
	log    *zap.Logger
	build  func(state.Model, variant) (build.Resources, error)
	model  *state.Model // of which Envoys have the listeners; nil: none yet
	tables map[variant]*table
}

func newVariants(log *zap.Logger) *variants {
	return &variants{log: log, build: buildVariant, tables: map[variant]*table{}}
}

func buildVariant(m state.Model, v variant) (build.Resources, error) {
	listeners, err := build.Listeners(m, v)
	return build.Resources{resourcev3.ListenerType: listeners}, err
}

// open returns the table of a variant, which is made if need be.
func (vs *variants) open(v variant, version string) (*table, error) {
	if t := vs.tables[v]; t != nil {
		return t, nil
	}
	if len(vs.tables) == maxVariants {
		return nil, errTooManyVariants
	}
	t := newTable(resourcev3.ListenerType)
	if vs.model != nil {
		if _, _, err := vs.update(v, t, version); err != nil {
			return nil, err
		}
	}
	vs.tables[v] = t
	return t, nil
}

// update makes the listeners of a variant anew, and says what differs.
func (vs *variants) update(v variant, t *table, version string) (changed, gone []string, err error) {
	built, err := vs.build(*vs.model, v)
	if err != nil {
		return nil, nil, err
	}
	listeners := built[resourcev3.ListenerType]
	for name, res := range listeners {
		if had := t.entries[name]; had == nil || !proto.Equal(had.resource, res) {
			// A stream that comes from another variant may know the version of that.
			t.entries[name] = newEntry(name, version+" "+v.Module+" "+v.Table, res)
			changed = append(changed, name)
		}
	}
	for name := range t.entries {
		if listeners[name] == nil {
			delete(t.entries, name)
			gone = append(gone, name)
		}
	}
	return changed, gone, nil
}

// publish makes the listeners of all variants anew, and gives tell what differs.
func (vs *variants) publish(m state.Model, version string, tell func(t *table, changed, gone []string)) {
	vs.model = &m
	for v, t := range vs.tables {
		changed, gone, err := vs.update(v, t, version)
		if err != nil {
			vs.log.Error("listeners with the module are not published: Envoys keep the last good ones",
				zap.String("module", v.Module), zap.String("table", v.Table), zap.Error(err))
			continue
		}
		tell(t, changed, gone)
	}
}

// trim forgets the variants that no client is given any more.
func (vs *variants) trim() {
	maps.DeleteFunc(vs.tables, func(_ variant, t *table) bool { return len(t.all)+len(t.byName) == 0 })
}

// refuses reports whether a client that refused what it was given is to have the zero
// variant from now on. Whatever the reason is: an Envoy says it in many ways that it
// cannot load a module, and one that refuses that variant as well has lost nothing.
func (s *stream) refuses(typeURL string) bool {
	return typeURL == resourcev3.ListenerType && s.variant != variant{}
}

// path is the way of an Envoy's requests; reason is why it is not the one that it asked for.
// One that came back with all there is has taken it before.
func (s *stream) path() (path, reason string) {
	if s.clientType != wire.Envoy {
		return "", ""
	}
	t := s.types[resourcev3.ListenerType]
	if s.variant != (variant{}) && (s.fast || t != nil && t.nonce == "" && t.current) {
		return PathModule, ""
	}
	return PathCallout, s.callout
}
