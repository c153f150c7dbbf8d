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
			return []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("10.0.0.2")}, nil
		}))
		b.mustChange(t, s, fromDNS("chat", "chat.internal")) // a failed first look-up is not fatal
		if b.of("chat") != "" || s.state("chat") != "missing" {
			t.Errorf("at first: %q, %s", b.of("chat"), s.state("chat"))
		}
		time.Sleep(6 * time.Second)
		if got := b.of("chat"); got != "10.0.0.2:80 [::1]:80" || s.state("chat") != "good" {
			t.Errorf("then: %q, %s", got, s.state("chat"))
		}
		s.Stop()
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
