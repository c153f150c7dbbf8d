// Package dnsttl looks up host names as Go does and says, besides, for how long the
// answer is true. Go's own resolver reads /etc/resolv.conf (and again when it changes),
// /etc/hosts and /etc/nsswitch.conf, follows search lists, asks several servers, by TCP
// where UDP cuts an answer off, and tells nobody a TTL. All it asks goes through the
// connections of [net.Resolver.Dial], so the TTLs are overheard there.
package dnsttl

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Answer is what a look-up found.
type Answer struct {
	// Addresses are those of the host.
	Addresses []netip.Addr
	// TTL is for how long the answer is true: the lowest TTL of its records, aliases
	// included, or, of an answer that there is nothing, what its zone says of those.
	TTL time.Duration
	// Told is whether there is a TTL: a name of /etc/hosts, an IP address and a failure
	// have none.
	Told bool
}

// Resolver looks up host names. The zero value asks the servers of /etc/resolv.conf.
type Resolver struct {
	// Dial opens the connections to name servers; nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// beyond is asked for names that Go's resolver does not find; nil means system.
	beyond func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Lookup is [net.Resolver.LookupNetIP] with a TTL. That a name does not exist, or has no
// address of the network, is an error with a TTL, if the name server said one.
func (r *Resolver) Lookup(ctx context.Context, network, host string) (Answer, error) {
	var heard overheard
	own := net.Resolver{PreferGo: true, Dial: func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := r.dial(dialing, network, address)
		if err != nil {
			return nil, err
		}
		return heard.listenTo(ctx, conn), nil
	}}
	addrs, err := own.LookupNetIP(ctx, network, host)
	if err == nil {
		ttl, told := heard.found()
		return Answer{addrs, ttl, told}, nil
	}
	if ctx.Err() != nil {
		return Answer{}, err
	}
	if addrs, beyondErr := r.askBeyond(ctx, network, host); beyondErr == nil {
		return Answer{Addresses: addrs}, nil
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		ttl, told := heard.nothing()
		return Answer{TTL: ttl, Told: told}, err
	}
	return Answer{}, err
}

func (r *Resolver) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if r.Dial == nil {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return r.Dial(ctx, network, address)
}

func (r *Resolver) askBeyond(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if r.beyond == nil {
		return system(ctx, network, host)
	}
	return r.beyond(ctx, network, host)
}

// system asks the C library where this system is set up for it: for names that neither
// /etc/hosts nor DNS has (mDNS, NIS, others of nsswitch.conf). Anywhere else it would be
// Go's resolver once more, whose questions were answered already: it can ask nobody.
func system(ctx context.Context, network, host string) ([]netip.Addr, error) {
	c := net.Resolver{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("was asked before")
	}}
	return c.LookupNetIP(ctx, network, host)
}
