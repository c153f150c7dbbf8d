package xds

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/genproto/googleapis/rpc/status"

	"github.com/stateful-route/stateful-route/wire"
)

// ClientStatus is how far one xDS client is with one resource type.
type ClientStatus struct {
	Node     string `json:"node"`
	Client   string `json:"client"`   // envoy or extproc
	Protocol string `json:"protocol"` // delta or sotw
	Type     string `json:"type"`     // lds, rds, cds, eds, sds
	Version  string `json:"version"`  // sent last; unchanged: the client came back with what is current
	Status   string `json:"status"`   // ack, nack, pending, or waiting when nothing was sent
	Reason   string `json:"reason,omitempty"`
	// Path is the way of an Envoy's requests: PathModule or PathCallout. PathReason is why an Envoy that asks for the module does without.
	Path       string `json:"path,omitempty"`
	PathReason string `json:"path_reason,omitempty"`
	// Lagging: it has not answered for so long that nobody waits for it, until it
	// answers again.
	Lagging bool `json:"lagging,omitempty"`
	// Age is how long the status has been so, Connected how long the stream.
	Age       float64 `json:"age_seconds"`
	Connected float64 `json:"connected_seconds"`
}

// The ways of an Envoy's requests: known sessions need no extproc, or every request of a
// session asks one.
const (
	PathModule  = "module"
	PathCallout = "callout"
)

// PushObserver hears of acknowledged and refused pushes.
type PushObserver interface {
	// XDSPush gets the time from the change that was pushed to a client's
	// acknowledgement. The steps of the rollout before it are included. What a
	// client gets as it connects counts from its request.
	XDSPush(resourceType string, d time.Duration)
	XDSNack(resourceType string)
}

// clients follows every stream: what was sent, and what became of it.
type clients struct {
	observer PushObserver
	refused  func(ClientStatus)
	// ackTimeout is how long a client is waited for.
	ackTimeout time.Duration
	// sequence reads a version, and left is told of a stream that ended; both are set
	// before the first stream.
	sequence func(version string) uint64
	left     func(*stream)
	// onCallout is told of an Envoy that asks for the module and is not given it; set
	// before the first stream, too.
	onCallout func(node, reason string)
	// changed wakes the loop: something may have been acknowledged.
	changed chan struct{}

	mu       sync.Mutex
	streams  map[streamKey]*stream
	requests map[any]*stream               // by the last request of each
	changes  map[wire.ClientType]time.Time // when what was published last was asked for
}

const (
	protocolSotw  = "sotw"
	protocolDelta = "delta"
)

type streamKey struct {
	protocol string
	id       int64
}

type stream struct {
	key        streamKey
	node       string
	clientType wire.ClientType
	connected  time.Time
	types      map[string]*progress
	request    any // the last one

	returned bool // it had something when it came

	variant variant // of the listeners that it is given
	fast    bool    // it has taken listeners of its variant
	callout string  // why it is not given the variant that it asked for

	subscribers map[string]*subscriber // by type; the caches' own
}

// progress is the state of one type on one stream: sent, answered, refused.
type progress struct {
	nonce, version string
	answered       bool
	reason         string
	since          time.Time
	asked          time.Time // when the stream first asked for the type
	cause          time.Time // of what was sent last: a change, or the asking
	// current: nothing was sent, because the client came back with all there is.
	current bool

	sent    uint64 // the publication that the last response was made of
	through uint64 // the last publication it has answered, or did not have to
	queued  int    // responses that the library has not sent yet
	// opening: it has answered, and what it missed meanwhile is about to be looked at.
	opening bool
	behind  time.Time // since when it owes the answer that it owes
}

// owes reports whether the client has something to answer.
func (t *progress) owes() bool { return t.queued > 0 || t.opening || t.nonce != "" && !t.answered }

func newClients(observer PushObserver, refused func(ClientStatus), ackTimeout time.Duration) *clients {
	return &clients{
		observer: observer, refused: refused, ackTimeout: ackTimeout,
		sequence: func(string) uint64 { return 0 }, left: func(*stream) {}, onCallout: func(string, string) {},
		changed: make(chan struct{}, 1),
		streams: map[streamKey]*stream{}, requests: map[any]*stream{}, changes: map[wire.ClientType]time.Time{},
	}
}

// publishing books that what one type of client is given from now on comes of a change
// at the time.
func (c *clients) publishing(to wire.ClientType, change time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes[to] = change
}

// progress is how far the clients of one type of client are. Those that owe an answer for
// longer than the timeout are not waited for: they lag.
func (c *clients) progress(now time.Time, clientType wire.ClientType) Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Progress{Acked: AllAcked}
	for _, s := range c.streams {
		if s.clientType != clientType {
			continue
		}
		for _, t := range s.types {
			if !t.owes() || t.lags(now, c.ackTimeout) {
				continue
			}
			out.Acked = min(out.Acked, t.through)
			if again := t.behind.Add(c.ackTimeout); out.LagsAt.IsZero() || again.Before(out.LagsAt) {
				out.LagsAt = again
			}
		}
	}
	return out
}

func (t *progress) lags(now time.Time, ackTimeout time.Duration) bool {
	return t.owes() && now.Sub(t.behind) >= ackTimeout
}

// asking returns the stream of a request that is being handled.
func (c *clients) asking(req any) *stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[req]
}

// queued books that a response is handed to the library, made of a publication.
func (c *clients) queued(s *stream, typeURL string, seq uint64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := s.types[typeURL]
	if t == nil {
		return
	}
	if !t.owes() {
		t.through, t.behind = seq-1, now
	}
	t.queued++
}

// dropped books that the library has thrown away what it had not sent.
func (c *clients) dropped(s *stream, typeURL string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := s.types[typeURL]; t != nil && t.queued > 0 {
		// It owes an answer to something newer in a moment.
		t.queued, t.opening = 0, true
	}
}

// opened books that what a stream missed has been looked at.
func (c *clients) opened(s *stream, typeURL string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := s.types[typeURL]; t != nil {
		t.opening = false
	}
}

// callbacks are what go-control-plane calls on every message.
func (c *clients) callbacks() serverv3.Callbacks {
	return serverv3.CallbackFuncs{
		StreamOpenFunc:        func(_ context.Context, id int64, _ string) error { c.open(streamKey{protocolSotw, id}); return nil },
		DeltaStreamOpenFunc:   func(_ context.Context, id int64, _ string) error { c.open(streamKey{protocolDelta, id}); return nil },
		StreamClosedFunc:      func(id int64, _ *corev3.Node) { c.close(streamKey{protocolSotw, id}) },
		DeltaStreamClosedFunc: func(id int64, _ *corev3.Node) { c.close(streamKey{protocolDelta, id}) },
		StreamRequestFunc: func(id int64, req *discoveryv3.DiscoveryRequest) error {
			c.request(streamKey{protocolSotw, id}, req, req.GetNode(), req.GetTypeUrl(), req.GetResponseNonce(), req.GetErrorDetail())
			return nil
		},
		StreamDeltaRequestFunc: func(id int64, req *discoveryv3.DeltaDiscoveryRequest) error {
			c.request(streamKey{protocolDelta, id}, req, req.GetNode(), req.GetTypeUrl(), req.GetResponseNonce(), req.GetErrorDetail())
			if len(req.GetInitialResourceVersions()) > 0 {
				c.cameBack(streamKey{protocolDelta, id}, req.GetTypeUrl())
			}
			return nil
		},
		StreamResponseFunc: func(_ context.Context, id int64, _ *discoveryv3.DiscoveryRequest, resp *discoveryv3.DiscoveryResponse) {
			c.response(streamKey{protocolSotw, id}, resp.GetTypeUrl(), resp.GetNonce(), resp.GetVersionInfo())
		},
		StreamDeltaResponseFunc: func(id int64, req *discoveryv3.DeltaDiscoveryRequest, resp *discoveryv3.DeltaDiscoveryResponse) {
			c.response(streamKey{protocolDelta, id}, req.GetTypeUrl(), resp.GetNonce(), resp.GetSystemVersionInfo())
		},
	}
}

func (c *clients) open(key streamKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[key] = &stream{key: key, connected: time.Now(), types: map[string]*progress{}, subscribers: map[string]*subscriber{}}
}

func (c *clients) close(key streamKey) {
	c.mu.Lock()
	s := c.streams[key]
	if s != nil {
		delete(c.streams, key)
		delete(c.requests, s.request)
	}
	c.mu.Unlock()
	if s != nil {
		c.left(s)
	}
	c.wake()
}

func (c *clients) request(key streamKey, req any, node *corev3.Node, typeURL, nonce string, refusal *status.Status) {
	s := c.meet(key, node)
	if s == nil {
		return
	}
	row, refused := c.note(s, req, typeURL, nonce, refusal)
	if refused {
		c.observer.XDSNack(row.Type)
		c.refused(row)
		if s.refuses(typeURL) {
			c.deny(s, "it refused the listeners with the module: "+strings.TrimSpace(row.Reason))
		}
	}
	c.wake()
}

// meet returns the stream of a request, and books who it is: what listeners a client is
// given is settled by its first request.
func (c *clients) meet(key streamKey, node *corev3.Node) *stream {
	c.mu.Lock()
	s := c.streams[key]
	if s == nil || node == nil {
		c.mu.Unlock()
		return s
	}
	s.node, s.clientType = node.GetId(), wire.ClientTypeOf(node.GetUserAgentName())
	var err error
	if first := s.request == nil; first && s.clientType == wire.Envoy {
		s.variant, err = variantOf(node)
	}
	c.mu.Unlock()
	if err != nil {
		c.deny(s, err.Error())
	}
	return s
}

// deny has a client be given the zero variant from now on.
func (c *clients) deny(s *stream, reason string) {
	c.mu.Lock()
	s.variant, s.fast, s.callout = variant{}, false, reason
	node := s.node
	c.mu.Unlock()
	c.onCallout(node, reason)
}

// note books a request; refused tells that it is a new NACK.
func (c *clients) note(s *stream, req any, typeURL, nonce string, refusal *status.Status) (row ClientStatus, refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.requests, s.request)
	s.request, c.requests[req] = req, s
	t := s.types[typeURL]
	if t == nil {
		now := time.Now()
		t = &progress{since: now, asked: now}
		s.types[typeURL] = t
	}
	if nonce == "" || nonce != t.nonce || t.answered {
		return row, false
	}
	if refusal == nil {
		c.observer.XDSPush(shortType(typeURL), time.Since(t.cause))
	}
	t.answered, t.since = true, time.Now()
	t.through, t.behind, t.opening = max(t.through, t.sent), t.since, true
	if refusal != nil {
		t.reason = cmp.Or(refusal.GetMessage(), "no reason given")
	} else if typeURL == resourcev3.ListenerType {
		s.fast = s.variant != variant{}
	}
	return s.status(typeURL, time.Now(), c.ackTimeout), refusal != nil
}

// cameBack books that a client already had resources of the type. Should they
// not be the newest, a response follows at once: whether they are is about to be looked at.
func (c *clients) cameBack(key streamKey, typeURL string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[key]
	if s == nil || s.types[typeURL] == nil {
		return
	}
	s.returned = true
	t := s.types[typeURL]
	t.current, t.opening, t.behind = true, true, time.Now()
}

// hasReturned reports whether a stream is that of a client who had something when it came.
func (c *clients) hasReturned(s *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.returned
}

func (c *clients) response(key streamKey, typeURL, nonce, version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[key]; s != nil && s.types[typeURL] != nil {
		t := s.types[typeURL]
		cause := c.changes[s.clientType]
		if cause.Before(t.asked) {
			cause = t.asked
		}
		if !t.owes() {
			t.behind = time.Now()
		}
		*t = progress{
			nonce: nonce, version: version, since: time.Now(), asked: t.asked, cause: cause,
			sent: c.sequence(version), through: t.through, queued: max(t.queued-1, 0), opening: t.opening, behind: t.behind,
		}
	}
}

func (c *clients) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// any reports whether a client of the type of client is connected.
func (c *clients) any(clientType wire.ClientType) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		if s.clientType == clientType && len(s.types) > 0 {
			return true
		}
	}
	return false
}

// inForce reports whether there are clients of the type of client, and all of them have put
// the endpoints that they are given into force, but for those that are not waited for. Where it
// does not, again is when one of them is waited for no longer.
func (c *clients) inForce(now time.Time, clientType wire.ClientType) (all bool, again time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		if s.clientType != clientType || len(s.types) == 0 {
			continue
		}
		all = true
		if at := s.endpointsBy(now, c.ackTimeout); !at.IsZero() && (again.IsZero() || at.Before(again)) {
			again = at
		}
	}
	return all && again.IsZero(), again
}

// endpointsBy is until when a stream is waited for that has not answered all that it was
// sent, endpoints among it; zero: it has, or has had the time for that.
func (s *stream) endpointsBy(now time.Time, ackTimeout time.Duration) time.Time {
	since := s.connected
	t := s.types[resourcev3.EndpointType]
	if t != nil && (t.current || t.answered) {
		since = time.Time{}
	}
	for _, t := range s.types {
		if t.owes() && t.behind.After(since) {
			since = t.behind
		}
	}
	if by := since.Add(ackTimeout); by.After(now) {
		return by
	}
	return time.Time{}
}

// list returns a row per client and type.
func (c *clients) list(now time.Time) []ClientStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	rows := []ClientStatus{}
	for _, s := range c.streams {
		for typeURL := range s.types {
			rows = append(rows, s.status(typeURL, now, c.ackTimeout))
		}
	}
	slices.SortFunc(rows, func(a, b ClientStatus) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type), cmp.Compare(b.Connected, a.Connected))
	})
	return rows
}

func (s *stream) status(typeURL string, now time.Time, ackTimeout time.Duration) ClientStatus {
	t := s.types[typeURL]
	path, why := s.path()
	row := ClientStatus{
		Node: s.node, Client: s.clientType.String(), Protocol: s.key.protocol, Type: shortType(typeURL),
		Version: t.version, Reason: t.reason, Lagging: t.lags(now, ackTimeout), Path: path, PathReason: why,
		Age: now.Sub(t.since).Seconds(), Connected: now.Sub(s.connected).Seconds(),
	}
	switch {
	case t.nonce == "" && t.current:
		row.Status, row.Version = "ack", "unchanged"
	case t.nonce == "":
		row.Status = "waiting"
	case !t.answered:
		row.Status = "pending"
	case t.reason != "":
		row.Status = "nack"
	default:
		row.Status = "ack"
	}
	return row
}
