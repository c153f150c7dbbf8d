// Package client plays what a schedule's clients do, and writes down what came
// of every visit. A session does one thing at a time, as a browser tab does, but
// for the streams it holds and a race at its beginning.
package client

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// Config is what the clients of a run need to know.
type Config struct {
	Addresses     []string // of the gateways
	GRPCAddresses []string
	Key           gateway.Key
	ReasonHeader  string
	Clients       schedule.Clients
	Sessions      []schedule.Session
	Duration      time.Duration   // of the plan, which is begun anew until Enough
	Enough        <-chan struct{} // is closed when all that was to be seen has been
	Patience      time.Duration   // for one answer
	Every         time.Duration   // between two events of an event stream
	Forge         func(n int) schedule.Forgery
	Began         time.Time // what all times count from
}

// player is one run.
type player struct {
	Config
	http1, http2 *http.Transport

	mu      sync.Mutex
	records []history.Record
}

// Play returns when every session has done its visits, or ctx ended. What is in
// flight at the end of the duration is waited for.
func Play(ctx context.Context, c Config) []history.Record {
	p := &player{Config: c, http1: transport(len(c.Sessions)), http2: transport(len(c.Sessions))}
	p.http2.Protocols = new(http.Protocols)
	p.http2.Protocols.SetUnencryptedHTTP2(true)
	defer p.http1.CloseIdleConnections()
	defer p.http2.CloseIdleConnections()
	var all sync.WaitGroup
	for _, s := range c.Sessions {
		all.Go(func() { p.play(ctx, s) })
	}
	all.Wait()
	return p.records
}

func transport(connections int) *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{}).DialContext,
		MaxIdleConnsPerHost: connections,
		DisableCompression:  true,
	}
}

func (p *player) now() time.Duration { return time.Since(p.Began) }

func (p *player) record(r history.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.records = append(p.records, r)
}

func (p *player) play(ctx context.Context, plan schedule.Session) {
	s := &session{player: p, plan: plan, cookies: map[string]string{}}
	if plan.Stale != "" {
		s.cookies[p.Key.Name] = plan.Stale
	}
	defer s.letGo()
	for round := 0; s.visits(ctx, round) && !plan.Once; round++ {
	}
}

// visits plays the plan for the round-th time. It reports whether there may be
// another; the first is played to its end.
func (s *session) visits(ctx context.Context, round int) bool {
	for n, visit := range s.plan.Visits {
		if !s.wait(ctx, visit.At+time.Duration(round)*s.Duration, round > 0) {
			return false
		}
		switch {
		case n == 0 && round == 0 && s.Clients.Race:
			s.race(ctx, visit)
		case visit.Stream:
			s.stream(ctx, visit)
		default:
			s.request(ctx, visit)
		}
	}
	return len(s.plan.Visits) > 0
}

// wait reports whether the time came before ctx's end and, of what is to have one,
// before it was enough.
func (p *player) wait(ctx context.Context, at time.Duration, ends bool) bool {
	enough := p.Enough
	if !ends {
		enough = nil
	}
	timer := time.NewTimer(max(0, at-p.now()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-enough:
		return false
	case <-timer.C:
		return true
	}
}
