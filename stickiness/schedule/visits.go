package schedule

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// Visit is one that a session is to make.
type Visit struct {
	At      time.Duration // or as soon as the one before is over
	Gateway int
	Stream  bool
	Forge   int // which of Forgeries, and about which pod
}

// Session is all that a client is to do.
type Session struct {
	Name   string
	ID     string // where the client chooses it
	Stale  string // the cookie to begin with
	Visits []Visit
	Once   bool // the visits are not begun anew where a run takes longer
}

// Load is how much there is to do.
type Load struct {
	Sessions int
	Rate     float64 // requests per second, all together
	Duration time.Duration
}

// Parts of the duration: most sessions begin early, every eighth one late, so that
// some are new after the fault.
const (
	early, lateFrom, lateUntil, lateEvery = .12, .4, .75, 8
	streamEvery                           = 3 // of so many visits one is a request
)

// Visits are those of every session.
func (s Schedule) Visits(seed uint64, load Load) []Session {
	out := make([]Session, load.Sessions, load.Sessions*2)
	for i := range out {
		out[i] = s.session(i, rand.New(rand.NewPCG(seed, uint64(i)+2)), load)
	}
	if s.Clients.Flood > 0 {
		out = append(out, s.flood(seed, load)...)
	}
	return out
}

func (s Schedule) session(i int, random *rand.Rand, load Load) Session {
	out := Session{Name: fmt.Sprintf("session-%04d", i), ID: id(s.Clients.IDs, i, random)}
	if s.Clients.Stale && i%2 == 0 {
		out.Stale = uuid(random)
	}
	d := float64(load.Duration)
	at := early * d * random.Float64()
	if i%lateEvery == lateEvery-1 {
		at = d * (lateFrom + (lateUntil-lateFrom)*random.Float64())
	}
	period := float64(load.Sessions) / load.Rate * float64(time.Second)
	first := random.IntN(s.GatewayCount())
	for n := 0; at < d; n++ {
		out.Visits = append(out.Visits, Visit{
			At: time.Duration(at), Gateway: (first + n) % s.GatewayCount(),
			Stream: s.Clients.Streams != "" && n%streamEvery != 0, Forge: random.IntN(1 << 16),
		})
		at += period * (0.8 + 0.4*random.Float64())
	}
	return out
}

// flood is made of sessions of one visit each.
func (s Schedule) flood(seed uint64, load Load) []Session {
	random := rand.New(rand.NewPCG(seed, 0))
	length := (FloodUntil - FloodFrom) * float64(load.Duration)
	out := make([]Session, int(float64(s.Clients.Flood)*load.Rate*length/float64(time.Second)))
	for i := range out {
		out[i] = Session{Name: fmt.Sprintf("flood-%05d", i), ID: uuid(random), Once: true, Visits: []Visit{{
			At:      time.Duration(FloodFrom*float64(load.Duration) + length*random.Float64()),
			Gateway: random.IntN(s.GatewayCount()),
		}}}
	}
	return out
}

// Forgery is what a client sends that is not its business.
type Forgery struct {
	Header, Cookie string // one of them
	Value          string
}

// Forgeries name the pod to gateways of all kinds, the i-th of them to one by its
// own way of carrying a choice; own are headers of the gateway under test.
func Forgeries(p gateway.Pod, own []string) []Forgery {
	out := []Forgery{
		{Header: "X-Envoy-Original-Dst-Host", Value: p.Address},
		{Header: "X-Gateway-Destination-Endpoint", Value: p.Address},
		{Header: "X-Envoy-Upstream-Alt-Stat-Name", Value: p.Name},
		{Header: "X-Envoy-Retry-On", Value: "5xx,reset,connect-failure"},
		{Header: "X-Envoy-Internal", Value: "true"},
		{Header: "X-Forwarded-Host", Value: p.Address},
		{Header: "X-Forwarded-For", Value: p.Address},
		{Header: "X-Forwarded-Server", Value: p.Name},
		{Header: "Forwarded", Value: "host=" + p.Address},
		{Header: "X-Real-Ip", Value: "127.0.0.1"},
		{Header: "X-Host", Value: p.Address},
		{Header: "X-Original-Url", Value: "http://" + p.Address + "/"},
		{Header: "X-Sticky-Pod", Value: p.Name},
		{Header: "X-Backend-Server", Value: p.Name},
		{Header: "X-Server-Id", Value: p.Name},
		{Cookie: "route", Value: p.Name},
		{Cookie: "SERVERID", Value: p.Name},
		{Cookie: "JSESSIONID", Value: "0." + p.Name},
		{Cookie: "BACKEND", Value: p.Address},
	}
	for _, header := range own {
		out = append(out, Forgery{Header: header, Value: p.Address}, Forgery{Header: header, Value: p.Name})
	}
	return out
}
