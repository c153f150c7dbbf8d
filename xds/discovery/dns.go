package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
)

// DNS is the source `dns: {host, port}`: the addresses of a host name are the pods.
type DNS struct {
	Host string `yaml:"host"`
	Port uint16 `yaml:"port"`
}

const (
	dnsInterval = 5 * time.Second
	dnsTimeout  = 2 * time.Second
)

// String implements statefulroute.PodDiscovery.
func (d *DNS) String() string {
	return "dns " + net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port)))
}

// Written implements statefulroute.PodDiscovery.
func (*DNS) Written() bool { return false }

// Check implements Config.
func (d *DNS) Check(doc *strictyaml.Document, at strictyaml.Path) {
	if d.Host == "" || d.Port == 0 {
		doc.Refuse(at, "host and port are needed")
	}
}

// NewDiscoverer implements Config.
func (d *DNS) NewDiscoverer(o Options) Discoverer {
	return Poll(dnsInterval, func(ctx context.Context) ([]statefulroute.Pod, error) { return d.lookUp(ctx, o.resolver()) })
}

// lookUp names pods by their address: DNS knows no better name. A host that does not
// exist is a failure, not an empty list: DNS says so of every host while it is
// confused.
func (d *DNS) lookUp(ctx context.Context, resolver Resolver) ([]statefulroute.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	addrs, err := resolver.LookupNetIP(ctx, "ip", d.Host)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", d.Host, err)
	}
	pods := make([]statefulroute.Pod, 0, len(addrs))
	for _, a := range addrs {
		ap := netip.AddrPortFrom(a.Unmap(), d.Port)
		pods = append(pods, statefulroute.Pod{Name: ap.String(), Address: ap, Weight: 1})
	}
	slices.SortFunc(pods, func(a, b statefulroute.Pod) int { return a.Address.Compare(b.Address) })
	return slices.Compact(pods), nil
}
