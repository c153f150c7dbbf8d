package xds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"github.com/stateful-route/stateful-route/policy"
)

// caches serves the resources: one LinearCache per audience and type, so that
// a change of one resource sends only that one. It is the server's
// cachev3.Cache, and hands each request to the cache of its audience and type.
type caches struct {
	prefix string
	byKey  map[cacheKey]*cachev3.LinearCache
	has    map[cacheKey]map[string]types.Resource // what publish gave last; loop only

	// mu makes a publish and a new watch follow one another, so that pending
	// is exact. The library's own count of watches is not: it counts a watch
	// that was answered and then closed as closed twice.
	mu      sync.Mutex
	watches map[*watch]struct{}
}

// watch is one client's standing request for a type.
type watch struct {
	key cacheKey
	sub cachev3.Subscription
	// delta clients are told what is gone; of the others only those of types
	// that are always sent whole.
	tellGone bool
	// pending: something was sent, or is about to be, and not answered yet.
	pending bool
}

type cacheKey struct {
	audience Audience
	typeURL  string
}

// publishOrder lets Envoy meet every name before something refers to it.
func publishOrder() []string {
	return []string{resourcev3.ClusterType, resourcev3.EndpointType, resourcev3.ListenerType, resourcev3.RouteType}
}

// newCaches needs a prefix no earlier process used: the versions count from 1,
// and a client that comes back must not take the new 7 for the old 7.
func newCaches(prefix string) *caches {
	c := &caches{
		prefix:  prefix,
		byKey:   map[cacheKey]*cachev3.LinearCache{},
		has:     map[cacheKey]map[string]types.Resource{},
		watches: map[*watch]struct{}{},
	}
	for _, audience := range []Audience{Envoys, Extprocs} {
		for _, typeURL := range publishOrder() {
			c.byKey[cacheKey{audience, typeURL}] = cachev3.NewLinearCache(typeURL, cachev3.WithVersionPrefix(prefix))
		}
	}
	return c
}

// publish gives an audience its resources, and sends only what changed.
func (c *caches) publish(to Audience, r Resources) error {
	if to == Extprocs {
		r = r.forExtproc()
	}
	for _, typeURL := range publishOrder() {
		key := cacheKey{to, typeURL}
		changed, gone := difference(c.has[key], r[typeURL])
		c.has[key] = r[typeURL]
		if len(changed)+len(gone) == 0 {
			continue
		}
		if err := c.update(key, changed, gone); err != nil {
			return fmt.Errorf("publish %s to %s: %w", shortType(typeURL), to, err)
		}
	}
	return nil
}

func (c *caches) update(key cacheKey, changed map[string]types.Resource, gone []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watches {
		if w.key == key && w.hears(changed, gone) {
			w.pending = true
		}
	}
	return c.byKey[key].UpdateResources(changed, gone)
}

// hears reports whether the watch is answered by a change.
func (w *watch) hears(changed map[string]types.Resource, gone []string) bool {
	if w.sub.IsWildcard() {
		return len(changed) > 0 || w.tellGone
	}
	names := w.sub.SubscribedResources()
	for name := range changed {
		if _, ok := names[name]; ok {
			return true
		}
	}
	return w.tellGone && slices.ContainsFunc(gone, func(name string) bool { _, ok := names[name]; return ok })
}

func difference(before, after map[string]types.Resource) (changed map[string]types.Resource, gone []string) {
	changed = map[string]types.Resource{}
	for name, res := range after {
		if old, ok := before[name]; !ok || !proto.Equal(old, res) {
			changed[name] = res
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			gone = append(gone, name)
		}
	}
	return changed, gone
}

// pending reports whether a client of the audience has yet to answer something
// that was published.
func (c *caches) pending(audience Audience) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watches {
		if w.key.audience == audience && w.pending {
			return true
		}
	}
	return false
}

// CreateWatch serves a state-of-the-world request. A refusal is held back: the
// library would answer a client that has accepted nothing yet with the same
// resources again, at once, for ever. A version of ours makes it wait for the
// next change.
func (c *caches) CreateWatch(req *cachev3.Request, sub cachev3.Subscription, out chan cachev3.Response) (func(), error) {
	key := cacheKey{audienceOf(req.GetNode().GetUserAgentName()), req.GetTypeUrl()}
	if req.GetErrorDetail() != nil && !strings.HasPrefix(req.GetVersionInfo(), c.prefix) {
		req = proto.Clone(req).(*cachev3.Request)
		req.VersionInfo = c.prefix + "refused"
	}
	whole := cachev3.ResourceRequiresFullStateInSotw(key.typeURL)
	return c.watch(&watch{key: key, sub: sub, tellGone: whole}, func(lc *cachev3.LinearCache) (func(), bool, error) {
		before := len(out)
		cancel, err := lc.CreateWatch(req, sub, out)
		return cancel, len(out) > before, err
	})
}

// CreateDeltaWatch serves a delta request; the library remembers what it sent,
// so a refusal is not answered before the resource changes.
func (c *caches) CreateDeltaWatch(req *cachev3.DeltaRequest, sub cachev3.Subscription, out chan cachev3.DeltaResponse) (func(), error) {
	key := cacheKey{audienceOf(req.GetNode().GetUserAgentName()), req.GetTypeUrl()}
	return c.watch(&watch{key: key, sub: sub, tellGone: true}, func(lc *cachev3.LinearCache) (func(), bool, error) {
		before := len(out)
		cancel, err := lc.CreateDeltaWatch(req, sub, out)
		return cancel, len(out) > before, err
	})
}

// watch opens a watch and books it until the client's next request of the type
// cancels it. A type we have nothing of (secrets, runtime) is never answered,
// which xDS allows, rather than an error that would end the whole stream.
func (c *caches) watch(w *watch, open func(*cachev3.LinearCache) (cancel func(), answered bool, err error)) (func(), error) {
	lc := c.byKey[w.key]
	if lc == nil {
		return func() {}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cancel, answered, err := open(lc)
	if err != nil {
		return nil, err
	}
	w.pending = answered
	c.watches[w] = struct{}{}
	return func() {
		c.mu.Lock()
		delete(c.watches, w)
		c.mu.Unlock()
		if cancel != nil {
			cancel()
		}
	}, nil
}

// Fetch is REST xDS, which is not offered.
func (c *caches) Fetch(context.Context, *cachev3.Request) (cachev3.Response, error) {
	return nil, errors.New("xDS over REST is not offered: use gRPC")
}

// audienceOf tells an extproc by its user agent; anything else is an Envoy.
func audienceOf(userAgent string) Audience {
	if userAgent == policy.UserAgent {
		return Extprocs
	}
	return Envoys
}

// shortType is a type's common name, for logs, labels and the admin API.
func shortType(typeURL string) string {
	switch typeURL {
	case resourcev3.ListenerType:
		return "lds"
	case resourcev3.RouteType:
		return "rds"
	case resourcev3.ClusterType:
		return "cds"
	case resourcev3.EndpointType:
		return "eds"
	default:
		return "other"
	}
}
