package extproc

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/evict"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/wire"
)

// clients send requests of the service chat to a server, one after the other.
type clients struct {
	t      *testing.T
	server *Server
	table  *affinity.Table
	now    time.Time
	pods   map[string]string // of each session, as of its first request
}

func newClients(t *testing.T, table *affinity.Table, services ...wire.ServiceState) *clients {
	t.Helper()
	c := &clients{t: t, table: table, now: t0, pods: map[string]string{}}
	var err error
	c.server, err = NewServer(ServerOptions{
		Directory: newDirectory(t, services...), Table: MemoryTable{Table: table}, Now: func() time.Time { return c.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// request sends one request of a session. Sessions are counted every second.
func (c *clients) request(key string) decision {
	if next := c.now.Add(5 * time.Millisecond); next.Truncate(time.Second) != c.now.Truncate(time.Second) {
		c.server.directory.CountSessions(c.table, c.table)
	}
	c.now = c.now.Add(5 * time.Millisecond)
	x := &exchange{server: c.server, service: c.server.directory.service("chat"), began: c.now}
	x.begin(context.Background(), raw("x-session-id", key))
	x.end()
	return x.decision
}

// come sends a session's first request, which must be bound.
func (c *clients) come(key string) {
	c.t.Helper()
	d := c.request(key)
	if d.outcome != claimed {
		c.t.Fatalf("session %s is new: outcome %d, %v", key, d.outcome, d.err)
	}
	c.pods[key] = d.pod.Name
}

// comeBack sends another request, which must go to the session's pod.
func (c *clients) comeBack(key string) {
	c.t.Helper()
	if d := c.request(key); d.outcome != known || d.pod.Name != c.pods[key] {
		c.t.Fatalf("session %s comes back: outcome %d on %+v, want %s", key, d.outcome, d.pod, c.pods[key])
	}
}

func capped(most uint32, strategy string) func(*statefulroute.Service) {
	return func(s *statefulroute.Service) { s.Balancing.MaxSessions, s.Balancing.Strategy = most, strategy }
}

// 900 made-up ids against places for 100 sessions: who is there stays, who comes gets
// in at once, and who comes back is at its pod, whatever strategy chooses pods and
// whatever strategy keeps the table.
func TestMadeUpIDsDoNotFillMaxSessions(t *testing.T) {
	for _, balancer := range balancing.NewRegistry().Names() {
		for _, keeps := range evict.NewRegistry().Names() {
			for _, n := range []int{1, 4} {
				t.Run(fmt.Sprintf("%s/%s/%d", balancer, keeps, n), func(t *testing.T) {
					table := newTable(t, func(o *affinity.Options) { o.Strategy, o.Capacity = keeps, 5000 })
					c := newClients(t, table, stateOf(chat(capped(uint32(100/n), balancer)), pods(n)))
					for i := range 40 {
						c.come(fmt.Sprint("there-", i))
						c.comeBack(fmt.Sprint("there-", i))
					}
					for i := range 900 {
						c.come(fmt.Sprint("made-up-", i))
						if n := i / 20; i%20 == 0 {
							c.come(fmt.Sprint("comes-", n))
							if n >= 10 {
								c.comeBack(fmt.Sprint("comes-", n-10)) // a second later
								c.comeBack(fmt.Sprint("there-", n%40))
							}
						}
					}
					for i := range 40 {
						c.comeBack(fmt.Sprint("there-", i))
					}
					// Who was given up and came back has a place more than there is, until
					// that is known and others come.
					c.server.directory.CountSessions(table, table)
					for i := range 60 {
						c.come(fmt.Sprint("made-up-later-", i))
					}
					if st := table.Stats(); st.Evictions["max_sessions"] == 0 || st.Evicted != st.Evictions["max_sessions"] {
						t.Errorf("%+v", st)
					}
					for i := range n {
						pod := fmt.Sprint("chat-", i)
						// Of several pods one may have more than it may by sessions that were
						// given up, came back and now are worth keeping.
						if got := table.PodSessions("chat", pod); got > 100/n+(n-1)*2 {
							t.Errorf("%s has %d sessions, %d are allowed", pod, got, 100/n)
						}
					}
				})
			}
		}
	}
}

// Sessions that came back give nothing up: then who is new is refused, at once.
func TestReturningSessionsKeepTheirPlace(t *testing.T) {
	c := newClients(t, newTable(t), stateOf(chat(capped(25, "least_connections")), pods(4)))
	for i := range 100 {
		c.come(fmt.Sprint(i))
		c.comeBack(fmt.Sprint(i))
	}
	d := c.request("new")
	var none *balancing.NoPodsError
	if d.outcome != noPods || !errors.As(d.err, &none) || none.LeftOut[0].Reason != "max_sessions reached" {
		t.Errorf("outcome %d, %v", d.outcome, d.err)
	}
	if st := c.table.Stats(); st.Evicted != 0 {
		t.Errorf("%+v", st)
	}
	for i := range 100 {
		c.comeBack(fmt.Sprint(i))
	}
}

// A session that must leave its lost pod gets the place of one that was used once.
func TestARebindGetsAPlaceToo(t *testing.T) {
	svc := chat(capped(50, "round_robin"))
	c := newClients(t, newTable(t), stateOf(svc, pods(2)))
	for i := range 50 {
		c.come(fmt.Sprint(i))
		c.comeBack(fmt.Sprint(i))
	}
	for i := range 50 {
		c.come(fmt.Sprint("made-up-", i))
	}
	c.server.directory.Set([]wire.ServiceState{stateOf(svc, withState(pods(2), "chat-1", statefulroute.Unhealthy))}, true)
	moved := 0
	for i := range 50 {
		key := fmt.Sprint(i)
		if c.pods[key] == "chat-0" {
			c.comeBack(key)
		} else if d := c.request(key); d.outcome == rebound && d.pod.Name == "chat-0" {
			moved++
		}
	}
	if moved != 25 {
		t.Errorf("%d of 25 sessions of the lost pod were rebound", moved)
	}
}

// refusing is a strategy that evicts the oldest until it is told to refuse.
type refusing struct{ now atomic.Bool }

type refusingPolicy struct {
	all     *evict.List
	refuses *atomic.Bool
}

func (r *refusing) NewPolicy(room evict.Room) evict.Policy {
	return &refusingPolicy{room.NewList(), &r.now}
}

func (p *refusingPolicy) Add(e *evict.Entry)    { p.all.PushFront(e) }
func (p *refusingPolicy) Used(e *evict.Entry)   { p.all.MoveToFront(e) }
func (p *refusingPolicy) Remove(e *evict.Entry) { p.all.Remove(e) }

func (p *refusingPolicy) Victim(int64) (*evict.Entry, evict.Reason, error) {
	if p.refuses.Load() {
		return nil, 0, statefulroute.ErrFull
	}
	return p.all.Back(), evict.ReasonCapacity, nil
}

// Under a table that has come to refuse places, an evicted session whose pod is lost is
// rebound once, visibly, and known there from then on.
func TestAnEvictedSessionOfALostPodIsReboundOnce(t *testing.T) {
	strategy, registry := &refusing{}, evict.NewRegistry()
	if err := registry.Register("refusing", func() evict.Strategy { return strategy }); err != nil {
		t.Fatal(err)
	}
	table := newTable(t, func(o *affinity.Options) { o.Registry, o.Strategy, o.Capacity = registry, "refusing", 10 })
	c := newClients(t, table, stateOf(chat(), pods(3)))
	c.come("evicted")
	for i := range 10 {
		c.come(fmt.Sprint(i))
	}
	strategy.now.Store(true)
	c.comeBack("evicted")
	lost := c.pods["evicted"]
	c.server.directory.Set([]wire.ServiceState{stateOf(chat(), without(pods(3), lost))}, true)
	before := table.Stats()
	d := c.request("evicted")
	if d.outcome != rebound || d.pod.Name == lost || d.lost != lost || !d.hit {
		t.Fatalf("outcome %d on %+v, want a rebind from %s", d.outcome, d.pod, lost)
	}
	c.pods["evicted"] = d.pod.Name
	for range 5 {
		c.comeBack("evicted")
	}
	if n := metric(t, c.server.directory, `stateful_route_sessions_rebound_total{reason="removed",service="chat"}`); n != 1 {
		t.Errorf("%v rebinds counted, want 1", n)
	}
	st := table.Stats()
	if st.Rebinds != before.Rebinds+1 || st.GhostRestores != before.GhostRestores || st.Broken != before.Broken || st.Refused != before.Refused || st.Hits != before.Hits+6 {
		t.Errorf("%+v, before %+v", st, before)
	}
}
