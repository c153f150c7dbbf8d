package xds

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/build"
	"github.com/stateful-route/stateful-route/xds/state"
)

// caches serves the resources. It is the server's cachev3.Cache: a table per
// type of client and type, and for each stream and type a subscriber, who knows what
// became of the resources since the stream was last answered. So a publication
// costs what it changes and whom it concerns, not what there is; the library's
// LinearCache looks at every name a client subscribed to, each time.
//
// A publication never waits for a client. A stream gets one response per type,
// and the next one after it asked again: until then what it misses is kept as
// names, and the library's channel has room for what two requests in a row bring.
type caches struct {
	prefix  string // of the versions
	clients *clients

	mu       sync.Mutex
	tables   map[cacheKey]*table
	variants *variants // the listeners of Envoys that are given others than those in tables
	seq      [2]uint64 // the last publication to one type of client
	// holding: extprocs that come back are not answered until release. held are their
	// subscribers, and others that were.
	holding bool
	held    []*subscriber
}

type cacheKey struct {
	clientType wire.ClientType
	typeURL    string
}

// table holds the resources of a type for one type of client.
type table struct {
	typeURL string
	entries map[string]*entry
	// byName are the subscribers of a name, be there a resource or not; all are
	// those of every name.
	byName map[string]map[*subscriber]struct{}
	all    map[*subscriber]struct{}
}

// entry is a resource, put into bytes when somebody asks for it first.
type entry struct {
	name     string
	version  string // for state-of-the-world: of the publication
	resource types.Resource
	raw      func() ([]byte, error)
	hash     func() string // for delta: of the content, the same in another run
}

func newEntry(name, version string, res types.Resource) *entry {
	e := &entry{name: name, version: version, resource: res}
	e.raw = sync.OnceValues(func() ([]byte, error) { return cachev3.MarshalResource(res) })
	e.hash = sync.OnceValue(func() string {
		raw, err := e.raw()
		if err != nil {
			return version // sending it will fail and say why
		}
		return cachev3.HashResource(raw)
	})
	return e
}

// publishOrder lets Envoy meet every name before something refers to it.
func publishOrder() []string {
	return []string{resourcev3.SecretType, resourcev3.ClusterType, resourcev3.EndpointType, resourcev3.ListenerType, resourcev3.RouteType}
}

// newCaches needs a prefix no earlier process used: the versions count from 1,
// and a client that comes back must not take the new 7 for the old 7.
func newCaches(prefix string, clients *clients, log *zap.Logger) *caches {
	c := &caches{prefix: prefix, clients: clients, tables: map[cacheKey]*table{}, variants: newVariants(log), holding: true}
	for _, clientType := range []wire.ClientType{wire.Envoy, wire.Extproc} {
		for _, typeURL := range publishOrder() {
			if typeURL == resourcev3.SecretType && clientType != wire.Envoy {
				continue // nobody else has a use for keys
			}
			c.tables[cacheKey{clientType, typeURL}] = newTable(typeURL)
		}
	}
	return c
}

func newTable(typeURL string) *table {
	return &table{
		typeURL: typeURL, entries: map[string]*entry{},
		byName: map[string]map[*subscriber]struct{}{}, all: map[*subscriber]struct{}{},
	}
}

// changes are what a publication does to one type of client's resources.
type changes struct {
	set  build.Resources
	gone map[string][]string // by type
	// listeners is what Envoys' listeners are made of where they may have changed; nil: they
	// have not.
	listeners *state.Model
}

func newChanges() changes { return changes{set: build.NewResources(), gone: map[string][]string{}} }

// publish gives one type of client what changed, as its publication number seq.
func (c *caches) publish(to wire.ClientType, seq uint64, ch changes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq[to] = seq
	version := c.version(seq)
	for _, typeURL := range publishOrder() {
		t := c.tables[cacheKey{to, typeURL}]
		if t == nil {
			continue
		}
		for name, res := range ch.set[typeURL] {
			t.entries[name] = newEntry(name, version, res)
		}
		for _, name := range ch.gone[typeURL] {
			delete(t.entries, name)
		}
		c.tell(t, slices.Collect(maps.Keys(ch.set[typeURL])), ch.gone[typeURL], seq)
		if typeURL == resourcev3.ListenerType && ch.listeners != nil {
			c.variants.publish(*ch.listeners, version, func(t *table, changed, gone []string) { c.tell(t, changed, gone, seq) })
		}
	}
}

func (c *caches) version(seq uint64) string { return c.prefix + strconv.FormatUint(seq, 10) }

// sequence is the publication that a version names; 0 for one that is not ours.
func (c *caches) sequence(version string) uint64 {
	number, ours := strings.CutPrefix(version, c.prefix)
	if !ours {
		return 0
	}
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0
	}
	return seq
}

// tell answers the standing requests that a change concerns.
func (c *caches) tell(t *table, changed, gone []string, seq uint64) {
	concerned := map[*subscriber][]string{}
	for _, name := range slices.Concat(changed, gone) {
		for s := range t.byName[name] {
			concerned[s] = append(concerned[s], name)
		}
		for s := range t.all {
			if _, twice := s.names[name]; !twice {
				concerned[s] = append(concerned[s], name)
			}
		}
	}
	for s, names := range concerned {
		if s.send == nil || s.held {
			for _, name := range names {
				s.missed[name] = struct{}{}
			}
			continue
		}
		if a, ok := s.answerTo(names); ok {
			c.answer(s, a, seq)
		}
	}
}

// answer sends a response, which ends the standing request.
func (c *caches) answer(s *subscriber, a answer, seq uint64) {
	a.version = c.version(seq)
	c.clients.queued(s.stream, s.table.typeURL, seq, time.Now())
	send := s.send
	s.send = nil
	send(a)
}

// CreateWatch serves a state-of-the-world request: it is answered at once with
// what differs from what the stream has, or when that changes. A refusal is never
// answered with the same again.
func (c *caches) CreateWatch(req *cachev3.Request, sub cachev3.Subscription, out chan cachev3.Response) (func(), error) {
	return c.watch(req, req.GetTypeUrl(), func(s *subscriber) {
		s.sub = sub
		s.subscribe(sub)
		clear(s.missed)
		c.clients.dropped(s.stream, s.table.typeURL) // the library has thrown away what it had not sent
		s.send = func(a answer) { out <- &sotwResponse{request: req, sub: sub, answer: a} }
		known := strings.HasPrefix(req.GetVersionInfo(), c.prefix)
		a, differs := s.sotwAnswer()
		// A secret that is missing is missing for a moment, and an answer without it an error.
		waits := req.GetTypeUrl() == resourcev3.SecretType
		if differs || !known && !waits && req.GetErrorDetail() == nil {
			c.answer(s, a, c.seq[s.stream.clientType])
		}
	})
}

// CreateDeltaWatch serves a delta request. After the first one, and those that
// change what is subscribed to, only what changed since the last answer is looked at.
func (c *caches) CreateDeltaWatch(req *cachev3.DeltaRequest, sub cachev3.Subscription, out chan cachev3.DeltaResponse) (func(), error) {
	return c.watch(req, req.GetTypeUrl(), func(s *subscriber) {
		resubscribed := s.sub == nil || s.held || len(req.GetResourceNamesSubscribe())+len(req.GetResourceNamesUnsubscribe()) > 0
		s.sub = sub
		s.send = func(a answer) { out <- &deltaResponse{request: req, sub: sub, answer: a} }
		if s.held = c.holding && s.stream.clientType == wire.Extproc && c.clients.hasReturned(s.stream); s.held {
			s.subscribe(sub)
			c.held = append(c.held, s)
			return
		}
		var a answer
		var differs bool
		if resubscribed {
			s.subscribe(sub)
			a, differs = s.deltaAnswer(s.heard())
		} else {
			a, differs = s.deltaAnswer(slices.Sorted(maps.Keys(s.missed)))
		}
		clear(s.missed)
		// Envoy waits for the answer to its first request, if there is only nothing.
		if differs || s.all && req.GetResponseNonce() == "" {
			c.answer(s, a, c.seq[s.stream.clientType])
		}
	})
}

// release answers the extprocs that came back, from now on at once.
func (c *caches) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.held {
		if !s.held || s.send == nil { // it has left, or is about to ask again
			continue
		}
		s.held = false
		a, differs := s.deltaAnswer(s.heard())
		clear(s.missed)
		if differs || s.all {
			c.answer(s, a, c.seq[s.stream.clientType])
		}
	}
	c.holding, c.held = false, nil
}

// holdsBack reports whether there is an extproc that came back and is not answered yet.
func (c *caches) holdsBack() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.held, func(s *subscriber) bool { return s.held })
}

// watch finds the subscriber of a request, who follows is made by the first one.
// A type we have nothing of for the client (runtime) is never answered, which xDS
// allows, rather than an error that would end the resubscribed stream.
func (c *caches) watch(req any, typeURL string, open func(*subscriber)) (cancel func(), err error) {
	stream := c.clients.asking(req)
	if stream == nil {
		return nil, errors.New("a request of a stream that is not open")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.clients.opened(stream, typeURL)
	t := c.tableOf(stream, typeURL)
	if t == nil {
		return func() {}, nil
	}
	s := stream.subscribers[typeURL]
	if s != nil && s.table != t {
		s.unsubscribe()
		c.variants.trim()
		s = nil
	}
	if s == nil {
		s = &subscriber{table: t, stream: stream, names: map[string]struct{}{}, missed: map[string]struct{}{}}
		stream.subscribers[typeURL] = s
	}
	open(s)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.send = nil
	}, nil
}

// tableOf is where a stream finds a type; nil: there is nothing of it.
func (c *caches) tableOf(s *stream, typeURL string) *table {
	if typeURL == resourcev3.ListenerType && s.variant != (variant{}) {
		t, err := c.variants.open(s.variant, c.version(c.seq[s.clientType]))
		if err == nil {
			return t
		}
		c.clients.deny(s, err.Error())
	}
	return c.tables[cacheKey{s.clientType, typeURL}]
}

// forget ends a stream's interest in everything.
func (c *caches) forget(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, sub := range s.subscribers {
		sub.unsubscribe()
	}
	clear(s.subscribers)
	c.variants.trim()
}

// Fetch is REST xDS, which is not offered.
func (c *caches) Fetch(context.Context, *cachev3.Request) (cachev3.Response, error) {
	return nil, errors.New("xDS over REST is not offered: use gRPC")
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
	case resourcev3.SecretType:
		return "sds"
	default:
		return "other"
	}
}
