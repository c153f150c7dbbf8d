package state

import "net/netip"

// Index finds the pods of one model by name and by address. It does not change.
type Index struct{ model Model }

// NewIndex indexes a model's members. Of a Server's own model nothing has to be
// looked at: its views carry their index.
func NewIndex(m Model) *Index {
	if m.layout != nil {
		return &Index{m}
	}
	indexed := Model{Gateway: m.Gateway, layout: m.LayoutOf()}
	for _, svc := range m.Services {
		view := *svc
		if view.pods == nil {
			view.pods = newPodIndex(view.Members)
		}
		indexed.Services = append(indexed.Services, &view)
	}
	return &Index{indexed}
}

// Has reports whether the service has the pod.
func (x *Index) Has(service, pod string) bool {
	svc, ok := x.model.Service(service)
	return ok && svc.pods.has(pod)
}

// HasService reports whether there is the service.
func (x *Index) HasService(service string) bool {
	_, ok := x.model.Service(service)
	return ok
}

// PodAt names the pod at an address of a service.
func (x *Index) PodAt(service string, at netip.AddrPort) (pod string, ok bool) {
	svc, ok := x.model.Service(service)
	if !ok {
		return "", false
	}
	pod, ok = svc.pods.addresses[at]
	return pod, ok
}

// podIndex finds a service's pods. It is shared by all views of the same pods at
// the same addresses, and never changed.
type podIndex struct {
	names     map[string]struct{}
	addresses map[netip.AddrPort]string
}

func newPodIndex(members []Member) *podIndex {
	x := &podIndex{names: make(map[string]struct{}, len(members)), addresses: make(map[netip.AddrPort]string, len(members))}
	for _, m := range members {
		x.names[m.Name] = struct{}{}
		x.addresses[m.Address] = m.Name
	}
	return x
}

func (x *podIndex) has(pod string) bool {
	_, ok := x.names[pod]
	return ok
}
