package load

import (
	"net/netip"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// chatPods are the pods of the only service, chat.
type chatPods []statefulroute.Pod

func (chatPods) HasService(name string) bool { return name == "chat" }

func (c chatPods) PodAt(service string, at netip.AddrPort) (pod string, ok bool) {
	i := slices.IndexFunc(c, func(p statefulroute.Pod) bool { return service == "chat" && p.Address == at })
	if i < 0 {
		return "", false
	}
	return c[i].Name, true
}

func testPod(name string, port uint16) statefulroute.Pod {
	return statefulroute.Pod{Name: name, Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Weight: 1}
}

func addrPort(ap netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       ap.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(ap.Port())},
	}}}
}
