package xds

import "net/netip"

// Index finds the pods of one model by name and by address. It does not change.
type Index struct {
	names     map[podID]struct{}
	addresses map[podAddress]string
}

type podAddress struct {
	service string
	at      netip.AddrPort
}

// NewIndex indexes a model's members.
func NewIndex(m Model) *Index {
	x := &Index{names: map[podID]struct{}{}, addresses: map[podAddress]string{}}
	for _, svc := range m.Services {
		for _, p := range svc.Members {
			x.names[podID{svc.Name, p.Name}] = struct{}{}
			x.addresses[podAddress{svc.Name, p.Address}] = p.Name
		}
	}
	return x
}

// Has reports whether the service has the pod.
func (x *Index) Has(service, pod string) bool {
	_, ok := x.names[podID{service, pod}]
	return ok
}

// PodAt names the pod at an address of a service.
func (x *Index) PodAt(service string, at netip.AddrPort) (pod string, ok bool) {
	pod, ok = x.addresses[podAddress{service, at}]
	return pod, ok
}
