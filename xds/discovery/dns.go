package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
)

// DNS is the source `dns: {host, port, family}`: the addresses of a host name are the
// pods. They are addresses of one family, for a pod that has one of each is one pod.
type DNS struct {
	Host string `yaml:"host"`
	Port uint16 `yaml:"port"`
	// Family is auto, ipv4 or ipv6; auto, also where it is empty, takes IPv6 where the
	// name has no IPv4 address.
	Family string `yaml:"family"`
}

const (
	familyAuto = "auto"
	familyIPv4 = "ipv4"
	familyIPv6 = "ipv6"
)

// lookUpTimeout bounds a look-up. A name server that is silent is given up for the next
// after 5 s unless resolv.conf says otherwise, and a start waits for patience.
const lookUpTimeout = 6 * time.Second

// String implements statefulroute.PodDiscovery.
func (d *DNS) String() string {
	name := "dns " + net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port)))
	if d.Family == familyIPv4 || d.Family == familyIPv6 {
		name += " " + d.Family
	}
	return name
}

// Written implements statefulroute.PodDiscovery.
func (*DNS) Written() bool { return false }

// Check implements Config.
func (d *DNS) Check(doc *strictyaml.Document, at strictyaml.Path) {
	if d.Host == "" || d.Port == 0 {
		doc.Refuse(at, "host and port are needed")
	}
	switch d.Family {
	case "":
		d.Family = familyAuto
	case familyAuto, familyIPv4, familyIPv6:
	default:
		doc.Refuse(at.With("family"), "%q is not one of auto, ipv4 and ipv6", d.Family)
	}
}

// NewDiscoverer implements Config.
func (d *DNS) NewDiscoverer(o Options) Discoverer { return dnsDiscoverer{d, o.resolver()} }

type dnsDiscoverer struct {
	*DNS
	resolver Resolver
}

func (d dnsDiscoverer) Run(ctx context.Context, updates chan<- Update) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var next schedule
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pods, life, err := d.lookUp(ctx, d.resolver)
		answered := time.Now()
		Send(ctx, updates, Update{Pods: pods, Err: err, Partial: true})
		next = next.after(answered, life, err)
		timer.Reset(time.Until(next.due))
	}
}

// lookUp names pods by their address: DNS knows no better name. A host that does not
// exist is a failure, not an empty list: DNS says so of every host while it is
// confused.
func (d *DNS) lookUp(ctx context.Context, resolver Resolver) ([]statefulroute.Pod, life, error) {
	ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	addrs, life, err := d.addresses(ctx, resolver)
	if err != nil {
		return nil, life, fmt.Errorf("resolve %s: %w", d.Host, err)
	}
	pods := make([]statefulroute.Pod, 0, len(addrs))
	for _, a := range addrs {
		ap := netip.AddrPortFrom(a.Unmap(), d.Port)
		pods = append(pods, statefulroute.Pod{Name: ap.String(), Address: ap, Weight: 1})
	}
	slices.SortFunc(pods, func(a, b statefulroute.Pod) int { return a.Address.Compare(b.Address) })
	return slices.Compact(pods), life, nil
}

// addresses asks for IPv6 only when it is known that there is no IPv4: an IPv4 answer
// that is merely lost would else make other pods of all of them.
func (d *DNS) addresses(ctx context.Context, resolver Resolver) ([]netip.Addr, life, error) {
	if d.Family == familyIPv6 {
		six, err := resolver.Lookup(ctx, "ip6", d.Host)
		return six.Addresses, lifeOf(six), err
	}
	four, err := resolver.Lookup(ctx, "ip4", d.Host)
	if d.Family == familyIPv4 || !hasNone(err) {
		return four.Addresses, lifeOf(four), err
	}
	six, err := resolver.Lookup(ctx, "ip6", d.Host)
	if err != nil && !hasNone(err) {
		return nil, life{}, err
	}
	return six.Addresses, lifeOf(four, six), err
}

// hasNone reports whether a host is known to have no address of a family, be it a name
// or itself an address.
func hasNone(err error) bool {
	var dns *net.DNSError
	var addr *net.AddrError
	return errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &addr)
}
