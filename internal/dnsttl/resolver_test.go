package dnsttl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/internal/testdns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zone = "test. 300 IN SOA ns.test. me.test. 1 2 3 4 30"

// TestAnswersHaveTheirTTL looks names up at a real name server.
func TestAnswersHaveTheirTTL(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("many.test. 7 IN A 10.0.1.%d", i))
	}
	names := map[string]testdns.Name{
		"plain.test.": {Answers: [][]string{{"plain.test. 20 IN A 10.0.0.1", "plain.test. 20 IN AAAA fd00::1"}}},
		"mixed.test.": {Answers: [][]string{{"mixed.test. 20 IN A 10.0.0.1", "mixed.test. 5 IN A 10.0.0.2", "mixed.test. 20 IN A 10.0.0.3"}}},
		"zero.test.":  {Answers: [][]string{{"zero.test. 0 IN A 10.0.0.1"}}},
		"huge.test.":  {Answers: [][]string{{"huge.test. 4294967295 IN A 10.0.0.1"}}},
		"alias.test.": {Answers: [][]string{{"alias.test. 60 IN CNAME b.test.", "b.test. 3 IN CNAME c.test.", "c.test. 20 IN A 10.0.0.1"}}},
		"cut.test.":   {Answers: [][]string{{"cut.test. 9 IN A 10.0.0.1"}}, Truncated: true},
		"many.test.":  {Answers: [][]string{many}, Truncated: true},
		// There is the name, but nothing of the family.
		"six.test.":     {Answers: [][]string{{"six.test. 20 IN AAAA fd00::1"}}, Zone: zone},
		"short.test.":   {Zone: "test. 4 IN SOA ns.test. me.test. 1 2 3 4 30"},
		"noZone.test.":  {},
		"lost.test.":    {Answers: [][]string{{"lost.test. 2 IN CNAME nowhere.test."}}, Zone: zone},
		"absent.test.":  {Missing: true, Zone: zone},
		"failing.test.": {Fails: "A"},
		"slow.test.":    {Answers: [][]string{{"slow.test. 20 IN A 10.0.0.1"}}, Delay: 50 * time.Millisecond},
	}
	server := testdns.New(t)
	for name, n := range names {
		server.Set(name, n)
	}
	const none, failure = "none", "failure"
	for _, c := range []struct {
		host, network string
		addrs         string // or none, or failure
		ttl           time.Duration
		told          bool
	}{
		{"plain.test.", "ip4", "10.0.0.1", 20 * time.Second, true},
		{"plain.test.", "ip6", "fd00::1", 20 * time.Second, true},
		{"mixed.test.", "ip4", "10.0.0.1 10.0.0.2 10.0.0.3", 5 * time.Second, true},
		{"zero.test.", "ip4", "10.0.0.1", 0, true},
		{"huge.test.", "ip4", "10.0.0.1", 0, true},
		{"alias.test.", "ip4", "10.0.0.1", 3 * time.Second, true},
		{"cut.test.", "ip4", "10.0.0.1", 9 * time.Second, true},
		{"slow.test.", "ip4", "10.0.0.1", 20 * time.Second, true},
		{"six.test.", "ip4", none, 30 * time.Second, true},
		{"short.test.", "ip4", none, 4 * time.Second, true},
		{"noZone.test.", "ip4", none, 0, false},
		{"lost.test.", "ip4", none, 2 * time.Second, true},
		{"absent.test.", "ip4", none, 30 * time.Second, true},
		{"unknown.test.", "ip4", none, 0, false},
		{"failing.test.", "ip4", failure, 0, false},
		{"127.0.0.1", "ip4", "127.0.0.1", 0, false},
		{"::1", "ip6", "::1", 0, false},
		{"localhost", "ip4", "127.0.0.1", 0, false}, // in /etc/hosts
	} {
		a, err := (&Resolver{Dial: server.Dial}).Lookup(t.Context(), c.network, c.host)
		got := shown(a.Addresses)
		var dns *net.DNSError
		switch {
		case errors.As(err, &dns) && dns.IsNotFound:
			got = none
		case err != nil:
			got = failure
		}
		if got != c.addrs || a.TTL != c.ttl || a.Told != c.told {
			t.Errorf("%s %s: %q, TTL %v, %v, error %v; want %q, %v, %v", c.network, c.host, got, a.TTL, a.Told, err, c.addrs, c.ttl, c.told)
		}
	}
	if a, err := (&Resolver{Dial: server.Dial}).Lookup(t.Context(), "ip4", "many.test."); err != nil || len(a.Addresses) != 200 || a.TTL != 7*time.Second {
		t.Errorf("of 200 addresses %d, TTL %v, %v", len(a.Addresses), a.TTL, err)
	}
	if by := asked(server, "cut.test."); by != "udp tcp" {
		t.Errorf("an answer that is cut off was asked for by %s", by)
	}
}

func shown(addrs []netip.Addr) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, a.Unmap().String())
	}
	slices.Sort(texts)
	return strings.Join(texts, " ")
}

func asked(s *testdns.Server, name string) string {
	var by []string
	for _, q := range s.Asked() {
		if q.Name == name {
			by = append(by, q.Network)
		}
	}
	return strings.Join(by, " ")
}

// The system is asked for what DNS does not find, and asks no name server anew where it
// is set up to ask DNS alone.
func TestNamesBeyondDNS(t *testing.T) {
	t.Parallel()
	server := testdns.New(t)
	server.Set("absent.test.", testdns.Name{Missing: true, Zone: zone})
	server.Set("plain.test.", testdns.Name{Answers: [][]string{{"plain.test. 20 IN A 10.0.0.1"}}})
	r := &Resolver{Dial: server.Dial, beyond: func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if host != "absent.test." {
			return nil, errors.New("no such name")
		}
		return []netip.Addr{netip.MustParseAddr("10.9.9.9")}, nil
	}}
	if a, err := r.Lookup(t.Context(), "ip4", "absent.test."); err != nil || shown(a.Addresses) != "10.9.9.9" || a.Told {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := r.Lookup(t.Context(), "ip4", "plain.test."); err != nil || shown(a.Addresses) != "10.0.0.1" {
		t.Errorf("%+v, %v", a, err)
	}
	before := server.Times("absent.test.")
	if _, err := (&Resolver{Dial: server.Dial}).Lookup(t.Context(), "ip4", "absent.test."); err == nil {
		t.Error("the system knows absent.test.")
	}
	if times := server.Times("absent.test.") - before; times != 1 {
		t.Errorf("a name that does not exist was asked for %d times", times)
	}
}

// A look-up ends with its context, whatever the server does.
func TestALookUpEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := testdns.New(t)
	server.Set("silent.test.", testdns.Name{Silent: "A"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := (&Resolver{Dial: server.Dial}).Lookup(ctx, "ip4", "silent.test.")
		ended <- err
	}()
	for server.Times("silent.test.") == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
}
