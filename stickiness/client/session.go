package client

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// session is one client.
type session struct {
	*player
	plan   schedule.Session
	nonces atomic.Int64

	mu      sync.Mutex
	cookies map[string]string // that it was given, by name
	learned string            // id that came in a header

	held    *held // the stream it holds
	streams int   // it held so far
}

// request makes one visit.
func (s *session) request(ctx context.Context, v schedule.Visit) {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	r := s.begin(v, history.Request)
	req, err := s.newRequest(ctx, http.MethodGet, s.Addresses[v.Gateway], "/visit", nil, v, &r)
	if err == nil {
		s.exchange(s.http1, req, &r)
	} else {
		r.Err = failure(err)
	}
	r.Received = s.now()
	s.record(r)
}

// race makes the same visit at every gateway at once.
func (s *session) race(ctx context.Context, v schedule.Visit) {
	var all sync.WaitGroup
	for i := range s.Addresses {
		v := v
		v.Gateway = i
		all.Go(func() { s.request(ctx, v) })
	}
	all.Wait()
}

// begin is the record of a visit that is about to be made.
func (s *session) begin(v schedule.Visit, kind history.Kind) history.Record {
	return history.Record{Session: s.plan.Name, Gateway: v.Gateway, Kind: kind, Nonce: s.nonce(), Sent: s.now()}
}

func (s *session) nonce() string {
	return s.plan.Name + "/" + strconv.FormatInt(s.nonces.Add(1), 10)
}

// name puts the session's id where the gateway looks for it, and says in the
// record what the pod is to see of it.
func (s *session) name(h http.Header, r *history.Record) {
	h.Set(pod.SessionHeader, s.plan.Name)
	h.Set(pod.NonceHeader, r.Nonce)
	s.mu.Lock()
	defer s.mu.Unlock()
	id := ""
	switch s.Key.Kind {
	case gateway.Header:
		id = s.plan.ID
		h[s.Key.Name] = []string{id} // as the adapter spells it
	case gateway.LearnedHeader:
		id = s.learned
		if id != "" {
			h[s.Key.Name] = []string{id}
		}
	case gateway.Cookie:
		id = s.plan.ID
		s.cookies[s.Key.Name] = id
	case gateway.LearnedCookie:
		id = s.cookies[s.Key.Name]
	}
	if id != "" {
		r.Key = pod.HashKey(id)
	}
	if line := s.cookieLine(); line != "" {
		h.Set("Cookie", line)
	}
}

// cookieLine has the key's cookie first, so that it comes before its double.
func (s *session) cookieLine() string {
	var pairs []string
	for name, value := range s.cookies {
		if name != s.Key.Name {
			pairs = append(pairs, name+"="+value)
		}
	}
	slices.Sort(pairs)
	if value, found := s.cookies[s.Key.Name]; found && s.Key.InCookie() {
		own := []string{s.Key.Name + "=" + value}
		if s.Clients.Doubled {
			own = append(own, s.Key.Name+"=00000000-nobody")
		}
		pairs = append(own, pairs...)
	}
	return strings.Join(pairs, "; ")
}

// keep remembers what the session was given.
func (s *session) keep(h http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if c.MaxAge < 0 || c.Value == "" {
			delete(s.cookies, c.Name)
		} else {
			s.cookies[c.Name] = c.Value
		}
	}
	if s.Key.Kind == gateway.LearnedHeader && h.Get(s.Key.Name) != "" {
		s.learned = h.Get(s.Key.Name)
	}
}

// forge adds one forgery. The key itself is no forgery: in its own cookie a
// client may say what it likes, and is then that session.
func (s *session) forge(h http.Header, n int) {
	f := s.Forge(n)
	switch {
	case f.Header != "" && !strings.EqualFold(f.Header, s.Key.Name):
		h.Set(f.Header, f.Value)
	case f.Cookie != "" && f.Cookie != s.Key.Name:
		h.Set("Cookie", strings.TrimPrefix(h.Get("Cookie")+"; "+f.Cookie+"="+f.Value, "; "))
	}
}
