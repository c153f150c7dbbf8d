package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver answers look-ups by a function.
type resolver func(host string) ([]netip.Addr, error)

func (r resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return r(host)
}

func TestDNSNamesPodsByAddressAndSurvivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		s, b := newManager(t, resolver(func(host string) ([]netip.Addr, error) {
			if host != "chat.internal" {
				return nil, fmt.Errorf("asked for %s", host)
			}
			if calls.Add(1) == 1 {
				return nil, errors.New("no answer")
			}
			return []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("10.0.0.2")}, nil
		}))
		b.mustChange(t, s, fromDNS("chat", "chat.internal")) // a failed first look-up is not fatal
		if b.of("chat") != "" || s.state("chat") != "missing" {
			t.Errorf("at first: %q, %s", b.of("chat"), s.state("chat"))
		}
		time.Sleep(6 * time.Second)
		if got := b.of("chat"); got != "10.0.0.2:80" || s.state("chat") != "good" {
			t.Errorf("then: %q, %s", got, s.state("chat"))
		}
		s.Stop()
	})
}

// nameServer answers by UDP, as its records are; a name that it does not know does not
// exist, and a type of which it has none is an empty answer.
type nameServer struct {
	conn    net.PacketConn
	records map[string][]string // by name, with a dot at its end
	fails   dnsmessage.Type     // of this type it knows nothing now
}

func newNameServer(t *testing.T, records map[string][]string, fails dnsmessage.Type) *net.Resolver {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn, records, fails}
	done := make(chan struct{})
	go func() { defer close(done); s.run() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func (s *nameServer) run() {
	buf := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var asked dnsmessage.Message
		if asked.Unpack(buf[:n]) != nil || len(asked.Questions) != 1 {
			continue
		}
		if packed, err := s.answer(asked.ID, asked.Questions[0]).Pack(); err == nil {
			_, _ = s.conn.WriteTo(packed, from)
		}
	}
}

func (s *nameServer) answer(id uint16, q dnsmessage.Question) *dnsmessage.Message {
	m := &dnsmessage.Message{Header: dnsmessage.Header{ID: id, Response: true, Authoritative: true}, Questions: []dnsmessage.Question{q}}
	addrs, ok := s.records[q.Name.String()]
	switch {
	case q.Type == s.fails:
		m.RCode = dnsmessage.RCodeServerFailure
	case !ok:
		m.RCode = dnsmessage.RCodeNameError
	}
	if m.RCode != dnsmessage.RCodeSuccess {
		return m
	}
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 5}
	for _, text := range addrs {
		switch a := netip.MustParseAddr(text); {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m
}

func TestANameWithBothFamiliesIsEachPodOnce(t *testing.T) {
	t.Parallel()
	records := map[string][]string{
		"both.test.": {"10.0.0.2", "fd00::2", "10.0.0.1", "fd00::1"},
		"four.test.": {"10.0.0.1"},
		"six.test.":  {"fd00::2", "fd00::1"},
	}
	const failure = "failure"
	for _, c := range []struct {
		host, family string
		fails        dnsmessage.Type
		pods         string
	}{
		{host: "both.test.", pods: "10.0.0.1:80 10.0.0.2:80"},
		{host: "both.test.", family: "auto", pods: "10.0.0.1:80 10.0.0.2:80"},
		{host: "both.test.", family: "ipv4", pods: "10.0.0.1:80 10.0.0.2:80"},
		{host: "both.test.", family: "ipv6", pods: "[fd00::1]:80 [fd00::2]:80"},
		{host: "four.test.", pods: "10.0.0.1:80"},
		{host: "four.test.", family: "ipv6", pods: failure},
		{host: "six.test.", pods: "[fd00::1]:80 [fd00::2]:80"},
		{host: "six.test.", family: "ipv4", pods: failure},
		{host: "none.test.", pods: failure},
		{host: "127.0.0.1", pods: "127.0.0.1:80"},
		{host: "::1", pods: "[::1]:80"},
		// A lost answer does not make other pods of all of them.
		{host: "both.test.", fails: dnsmessage.TypeA, pods: failure},
		{host: "both.test.", fails: dnsmessage.TypeAAAA, pods: "10.0.0.1:80 10.0.0.2:80"},
	} {
		d := &DNS{Host: c.host, Port: 80, Family: c.family}
		pods, err := d.lookUp(t.Context(), newNameServer(t, records, c.fails))
		got := names(pods)
		if err != nil {
			got = failure
		}
		if got != c.pods {
			t.Errorf("%s, family %q, without %v: %q, %v, want %q", c.host, c.family, c.fails, got, err, c.pods)
		}
	}
}

// A pod that an answer lacks once stays, and one that all answers lack ends after the
// hold, or by an operator's word. That is no alarm, unlike the loss of more than half.
func TestAnAnswerThatLacksAPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &answers{}
		s, b := newManager(t, dns)
		dns.say("1 2 3", nil)
		b.mustChange(t, s, fromDNS("chat", "x"))
		podsAfter := func(answer string, d time.Duration, want int, state string) {
			t.Helper()
			dns.say(answer, nil)
			time.Sleep(d)
			if got := len(strings.Fields(b.of("chat"))); got != want || s.state("chat") != state {
				t.Errorf("%v of %q: %d pods, %s, want %d, %s", d, answer, got, s.state("chat"), want, state)
			}
		}
		podsAfter("1 2 3", 6*time.Second, 3, "good")
		podsAfter("1 2", 28*time.Second, 3, "good")
		podsAfter("1 2 3", 6*time.Second, 3, "good")
		podsAfter("1 2", 28*time.Second, 3, "good")
		podsAfter("1 2", 8*time.Second, 2, "good")
		podsAfter("2", 6*time.Second, 2, "good")
		if held := s.Status("chat").Held; held == nil || held.Kept != 1 || held.Of != 2 {
			t.Errorf("held: %+v", held)
		}
		if err := s.Accept(t.Context(), "chat"); err != nil || b.of("chat") != "10.0.0.2:80" {
			t.Errorf("accepted: %v, %s", err, b.of("chat"))
		}
		s.Stop()
	})
}

// Answers that lack now this pod, now that one are no change of the pods: nothing is
// published for them.
func TestAnswersThatLackPodsInTurnChangeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &answers{}
		s, b := newManager(t, dns)
		dns.say("1 2 3", nil)
		b.mustChange(t, s, fromDNS("chat", "x"))
		for _, answer := range []string{"2 3", "1 3", "1 2", "1 2 3"} {
			dns.say(answer, nil)
			time.Sleep(6 * time.Second)
		}
		s.Stop()
		if b.sets != 1 {
			t.Errorf("the pods were set %d times, last to %s", b.sets, b.of("chat"))
		}
	})
}

// answers is a name server whose records a test sets.
type answers struct {
	mu    sync.Mutex
	addrs string // last bytes
	err   error
	asked int
}

func (a *answers) say(addrs string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addrs, a.err = addrs, err
}

func (a *answers) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	var out []netip.Addr
	for _, last := range strings.Fields(a.addrs) {
		out = append(out, netip.MustParseAddr("10.0.0."+last))
	}
	return out, a.err
}

// slowResolver holds an answer back until it is let go.
type slowResolver struct{ asked, answer chan struct{} }

func (r slowResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	r.asked <- struct{}{}
	<-r.answer // whatever its caller thinks of that
	return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
}
