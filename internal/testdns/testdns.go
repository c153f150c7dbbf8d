// Package testdns is a name server for tests, by UDP and TCP on loopback. It has miekg/dns
// read and write the messages, so that what is tested is not tested by itself.
package testdns

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Server answers as its names are. A name that it does not know does not exist.
type Server struct {
	// Address is IP:PORT, of UDP and TCP alike.
	Address string

	quit chan struct{}

	mu    sync.Mutex
	names map[string]*Name
	asked []Question
}

// Name is what a server says of one name. The zero value exists and has nothing.
type Name struct {
	// Answers are what is said in turn, each a list of records as in a zone file:
	// "chat.test. 5 IN A 10.0.0.1". Of each only those are sent that were asked for, and
	// aliases. The last is said again and again unless Rotate is set.
	Answers [][]string
	Rotate  bool
	// Zone is the SOA record that goes with an answer that has nothing; empty sends none.
	Zone string
	// Missing means that there is no such name, as for those that are not set; a Name says
	// it with its Zone.
	Missing bool
	// Fails has a type (A, AAAA) answered with SERVFAIL, Silent with nothing.
	Fails, Silent string
	// Truncated has a UDP answer cut off, with nothing in it.
	Truncated bool
	// Delay is how long each answer takes.
	Delay time.Duration

	given map[uint16]int // answers by type
}

// Question is what the server was asked.
type Question struct{ Name, Type, Network string }

// New starts a server at 127.0.0.1, with a port of its own.
func New(t testing.TB) *Server { return NewAt(t, "127.0.0.1:0") }

// NewAt is New at an address.
func NewAt(t testing.TB, address string) *Server {
	t.Helper()
	udp, tcp := listen(t, address)
	s := &Server{Address: udp.LocalAddr().String(), quit: make(chan struct{}), names: map[string]*Name{}}
	var ended sync.WaitGroup
	t.Cleanup(ended.Wait)
	for _, d := range []*dns.Server{
		{PacketConn: udp, Handler: s.handler("udp")}, {Listener: tcp, Handler: s.handler("tcp")},
	} {
		started := make(chan struct{})
		d.NotifyStartedFunc = func() { close(started) }
		ended.Go(func() {
			if err := d.ActivateAndServe(); err != nil {
				t.Errorf("name server: %v", err)
			}
		})
		<-started
		t.Cleanup(func() {
			if err := d.Shutdown(); err != nil {
				t.Errorf("name server: %v", err)
			}
		})
	}
	t.Cleanup(func() { close(s.quit) }) // first: who waits answers before the servers wait for him
	return s
}

// listen takes one port of both protocols.
func listen(t testing.TB, address string) (net.PacketConn, net.Listener) {
	t.Helper()
	var failure error
	for range 10 {
		udp, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		failure = err
		_ = udp.Close()
	}
	t.Fatal(failure)
	return nil, nil
}

// Set makes a name, with a dot at its end, what the server says of it.
func (s *Server) Set(name string, n Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n.given = map[uint16]int{}
	s.names[strings.ToLower(name)] = &n
}

// Asked are the questions so far.
func (s *Server) Asked() []Question {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Times is how often a name was asked for.
func (s *Server) Times(name string) (times int) {
	for _, q := range s.Asked() {
		if q.Name == name {
			times++
		}
	}
	return times
}

// Dial connects to the server, whichever was meant: it is the Dial of a resolver.
func (s *Server) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network[:3], s.Address)
}

func (s *Server) handler(network string) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, asked *dns.Msg) {
		if len(asked.Question) != 1 {
			return
		}
		reply, delay := s.answer(network, asked)
		if delay > 0 {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-s.quit:
			}
		}
		if reply != nil {
			_ = w.WriteMsg(reply) // to somebody who may have left
		}
	})
}

func (s *Server) answer(network string, asked *dns.Msg) (*dns.Msg, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := asked.Question[0]
	kind, name := dns.TypeToString[q.Qtype], strings.ToLower(q.Name)
	s.asked = append(s.asked, Question{name, kind, network})
	reply := new(dns.Msg).SetReply(asked)
	reply.RecursionAvailable = true
	n, ok := s.names[name]
	switch {
	case !ok:
		return reply.SetRcode(asked, dns.RcodeNameError), 0
	case n.Silent == kind:
		return nil, n.Delay
	case n.Fails == kind:
		return reply.SetRcode(asked, dns.RcodeServerFailure), n.Delay
	case n.Truncated && network == "udp":
		reply.Truncated = true
		return reply, n.Delay
	case n.Missing:
		reply.Rcode = dns.RcodeNameError
	}
	reply.Answer = n.next(q.Qtype)
	if n.Zone != "" && !slices.ContainsFunc(reply.Answer, func(r dns.RR) bool { return r.Header().Rrtype == q.Qtype }) {
		reply.Ns = []dns.RR{record(n.Zone)}
	}
	return reply, n.Delay
}

// next are the records of a type that are its turn.
func (n *Name) next(kind uint16) (out []dns.RR) {
	if len(n.Answers) == 0 {
		return nil
	}
	turn := n.given[kind]
	n.given[kind]++
	if n.Rotate {
		turn %= len(n.Answers)
	}
	for _, text := range n.Answers[min(turn, len(n.Answers)-1)] {
		if r := record(text); r.Header().Rrtype == kind || r.Header().Rrtype == dns.TypeCNAME {
			out = append(out, r)
		}
	}
	return out
}

// record reads a line of a zone file, which a test's author got right.
func record(text string) dns.RR {
	r, err := dns.NewRR(text)
	if err != nil || r == nil {
		panic("no record: " + text)
	}
	return r
}
