package xds

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
)

// ClientStatus is how far one xDS client is with one resource type.
type ClientStatus struct {
	Node     string `json:"node"`
	Client   string `json:"client"`   // envoy or extproc
	Protocol string `json:"protocol"` // delta or sotw
	Type     string `json:"type"`     // lds, rds, cds, eds
	Version  string `json:"version"`  // sent last; unchanged: the client came back with the newest
	Status   string `json:"status"`   // ack, nack, pending, or waiting when nothing was sent
	Reason   string `json:"reason,omitempty"`
	// Age is how long the status has been so, Connected how long the stream.
	Age       float64 `json:"age_seconds"`
	Connected float64 `json:"connected_seconds"`
}

// PushObserver hears of acknowledged and refused pushes.
type PushObserver interface {
	// XDSPush gets the time from the change that was pushed to a client's
	// acknowledgement. It counts the stages the change went through before, and,
	// for what a client gets as it connects, from its request.
	XDSPush(resourceType string, d time.Duration)
	XDSNack(resourceType string)
}

// clients follows every stream: what was sent, and what became of it.
type clients struct {
	observer PushObserver
	refused  func(ClientStatus)
	// changed wakes the loop: a stage may be acknowledged.
	changed chan struct{}

	mu      sync.Mutex
	streams map[streamKey]*stream
	changes map[Audience]time.Time // when what was published last was asked for
}

type streamKey struct {
	protocol string
	id       int64
}

type stream struct {
	node      string
	audience  Audience
	connected time.Time
	types     map[string]*progress
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
}

func newClients(observer PushObserver, refused func(ClientStatus)) *clients {
	return &clients{observer: observer, refused: refused, changed: make(chan struct{}, 1), streams: map[streamKey]*stream{}, changes: map[Audience]time.Time{}}
}

// publishing books that what an audience is given from now on comes of a change
// at the time.
func (c *clients) publishing(to Audience, change time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes[to] = change
}

// callbacks are what go-control-plane calls on every message.
func (c *clients) callbacks() serverv3.Callbacks {
	return serverv3.CallbackFuncs{
		StreamOpenFunc:        func(_ context.Context, id int64, _ string) error { c.open(streamKey{"sotw", id}); return nil },
		DeltaStreamOpenFunc:   func(_ context.Context, id int64, _ string) error { c.open(streamKey{"delta", id}); return nil },
		StreamClosedFunc:      func(id int64, _ *corev3.Node) { c.close(streamKey{"sotw", id}) },
		DeltaStreamClosedFunc: func(id int64, _ *corev3.Node) { c.close(streamKey{"delta", id}) },
		StreamRequestFunc: func(id int64, req *discoveryv3.DiscoveryRequest) error {
			c.request(streamKey{"sotw", id}, req.GetNode(), req.GetTypeUrl(), req.GetResponseNonce(), req.GetErrorDetail())
			return nil
		},
		StreamDeltaRequestFunc: func(id int64, req *discoveryv3.DeltaDiscoveryRequest) error {
			c.request(streamKey{"delta", id}, req.GetNode(), req.GetTypeUrl(), req.GetResponseNonce(), req.GetErrorDetail())
			if len(req.GetInitialResourceVersions()) > 0 {
				c.cameBack(streamKey{"delta", id}, req.GetTypeUrl())
			}
			return nil
		},
		StreamResponseFunc: func(_ context.Context, id int64, _ *discoveryv3.DiscoveryRequest, resp *discoveryv3.DiscoveryResponse) {
			c.response(streamKey{"sotw", id}, resp.GetTypeUrl(), resp.GetNonce(), resp.GetVersionInfo())
		},
		StreamDeltaResponseFunc: func(id int64, req *discoveryv3.DeltaDiscoveryRequest, resp *discoveryv3.DeltaDiscoveryResponse) {
			c.response(streamKey{"delta", id}, req.GetTypeUrl(), resp.GetNonce(), resp.GetSystemVersionInfo())
		},
	}
}

func (c *clients) open(key streamKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[key] = &stream{connected: time.Now(), types: map[string]*progress{}}
}

func (c *clients) close(key streamKey) {
	c.mu.Lock()
	delete(c.streams, key)
	c.mu.Unlock()
	c.wake()
}

func (c *clients) request(key streamKey, node *corev3.Node, typeURL, nonce string, refusal *status.Status) {
	row, refused := c.note(key, node, typeURL, nonce, refusal)
	if refused {
		c.observer.XDSNack(row.Type)
		c.refused(row)
	}
	c.wake()
}

// note books a request; refused tells that it is a new NACK.
func (c *clients) note(key streamKey, node *corev3.Node, typeURL, nonce string, refusal *status.Status) (row ClientStatus, refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[key]
	if s == nil {
		return row, false
	}
	if node != nil {
		s.node, s.audience = node.GetId(), audienceOf(node.GetUserAgentName())
	}
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
	if refusal != nil {
		t.reason = cmp.Or(refusal.GetMessage(), "no reason given")
	}
	return s.status(key, typeURL, time.Now()), refusal != nil
}

// cameBack books that a client already had resources of the type. Should they
// not be the newest, a response follows at once.
func (c *clients) cameBack(key streamKey, typeURL string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[key]; s != nil && s.types[typeURL] != nil {
		s.types[typeURL].current = true
	}
}

func (c *clients) response(key streamKey, typeURL, nonce, version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[key]; s != nil && s.types[typeURL] != nil {
		asked, cause := s.types[typeURL].asked, c.changes[s.audience]
		if cause.Before(asked) {
			cause = asked
		}
		*s.types[typeURL] = progress{nonce: nonce, version: version, since: time.Now(), asked: asked, cause: cause}
	}
}

func (c *clients) wake() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// answered reports whether every client of the audience has answered all that
// was sent to it. A refusal counts: waiting would not mend it.
func (c *clients) answered(audience Audience) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		for _, t := range s.types {
			if s.audience == audience && t.nonce != "" && !t.answered {
				return false
			}
		}
	}
	return true
}

// any reports whether a client of the audience is connected.
func (c *clients) any(audience Audience) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		if s.audience == audience && len(s.types) > 0 {
			return true
		}
	}
	return false
}

// list returns a row per client and type.
func (c *clients) list(now time.Time) []ClientStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	rows := []ClientStatus{}
	for key, s := range c.streams {
		for typeURL := range s.types {
			rows = append(rows, s.status(key, typeURL, now))
		}
	}
	slices.SortFunc(rows, func(a, b ClientStatus) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Type, b.Type), cmp.Compare(b.Connected, a.Connected))
	})
	return rows
}

func (s *stream) status(key streamKey, typeURL string, now time.Time) ClientStatus {
	t := s.types[typeURL]
	row := ClientStatus{
		Node: s.node, Client: s.audience.String(), Protocol: key.protocol, Type: shortType(typeURL),
		Version: t.version, Reason: t.reason,
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
