package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stateful-route/stateful-route/internal/dnsttl"
	"github.com/stateful-route/stateful-route/internal/testdns"
)

// resolver answers look-ups by a function.
type resolver func(host string) ([]netip.Addr, error)

func (r resolver) Lookup(_ context.Context, _, host string) (dnsttl.Answer, error) {
	addrs, err := r(host)
	return dnsttl.Answer{Addresses: addrs}, err
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

func TestANameWithBothFamiliesIsEachPodOnce(t *testing.T) {
	t.Parallel()
	records := map[string]string{
		"both.test.": "A 10.0.0.2,AAAA fd00::2,A 10.0.0.1,AAAA fd00::1",
		"four.test.": "A 10.0.0.1",
		"six.test.":  "AAAA fd00::2,AAAA fd00::1",
	}
	const failure = "failure"
	for _, c := range []struct {
		host, family string
		fails        string
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
		{host: "both.test.", fails: "A", pods: failure},
		{host: "both.test.", fails: "AAAA", pods: "10.0.0.1:80 10.0.0.2:80"},
	} {
		d := &DNS{Host: c.host, Port: 80, Family: c.family}
		server := testdns.New(t)
		for name, list := range records {
			var answer []string
			for _, r := range strings.Split(list, ",") {
				answer = append(answer, name+" 5 IN "+r)
			}
			server.Set(name, testdns.Name{Answers: [][]string{answer}, Fails: c.fails})
		}
		pods, _, err := d.lookUp(t.Context(), &dnsttl.Resolver{Dial: server.Dial})
		got := names(pods)
		if err != nil {
			got = failure
		}
		if got != c.pods {
			t.Errorf("%s, family %q, without %q: %q, %v, want %q", c.host, c.family, c.fails, got, err, c.pods)
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
	ttl   time.Duration
	err   error
	asked int
}

func (a *answers) say(addrs string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.addrs, a.err = addrs, err
}

func (a *answers) Lookup(context.Context, string, string) (dnsttl.Answer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	var out []netip.Addr
	for _, last := range strings.Fields(a.addrs) {
		out = append(out, netip.MustParseAddr("10.0.0."+last))
	}
	return dnsttl.Answer{Addresses: out, TTL: a.ttl, Told: a.ttl > 0}, a.err
}

// slowResolver holds an answer back until it is let go.
type slowResolver struct{ asked, answer chan struct{} }

func (r slowResolver) Lookup(context.Context, string, string) (dnsttl.Answer, error) {
	r.asked <- struct{}{}
	<-r.answer // whatever its caller thinks of that
	return dnsttl.Answer{Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}, nil
}
