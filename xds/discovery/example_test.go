package discovery_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
	"github.com/stateful-route/stateful-route/xds/discovery"
)

// ports is a kind of one's own, `ports: {first, count}`: pods on ports of this machine.
type ports struct {
	First uint16 `yaml:"first"`
	Count uint16 `yaml:"count"`
}

func (p *ports) String() string { return fmt.Sprintf("ports %d+%d", p.First, p.Count) }
func (*ports) Written() bool    { return true }

func (p *ports) Check(doc *strictyaml.Document, at strictyaml.Path) {
	if p.First == 0 {
		doc.Refuse(at.With("first"), "must be more than 0")
	}
}

func (p *ports) NewDiscoverer(discovery.Options) discovery.Discoverer {
	return discovery.Poll(time.Minute, func(context.Context) ([]statefulroute.Pod, error) {
		pods := make([]statefulroute.Pod, p.Count)
		for i := range p.Count {
			at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.First+i)
			pods[i] = statefulroute.Pod{Name: at.String(), Address: at, Weight: 1}
		}
		return pods, nil
	})
}

// A kind of one's own is a Config, registered under the name that it has below `pods`.
func ExampleRegistry_Register() {
	kinds := discovery.NewRegistry()
	if err := kinds.Register(discovery.Kind{Name: "ports", Config: func() discovery.Config { return new(ports) }}); err != nil {
		fmt.Println(err)
		return
	}
	for _, kind := range kinds.Kinds() {
		fmt.Println(kind.Name)
	}
	// Output:
	// file
	// dns
	// http
	// kubernetes
	// ports
}

// A Manager follows the sources of all services.
func ExampleManager() {
	m := &discovery.Manager{
		Logger: zap.NewNop(),
		Set: func(_ context.Context, service string, _ statefulroute.PodSource, pods []statefulroute.Pod) error {
			fmt.Println(service, "has other pods:", len(pods))
			return nil
		},
	}
	defer m.Stop()
	services := []statefulroute.Service{{Name: "chat", Pods: statefulroute.PodSource{Discovery: &ports{9101, 2}}}}
	err := m.Change(context.Background(), services, func(pods map[string][]statefulroute.Pod) error {
		for _, p := range pods["chat"] {
			fmt.Println(p.Name)
		}
		return nil
	})
	fmt.Println(err, m.Status("chat").Source, m.Status("chat").State)
	// Output:
	// 127.0.0.1:9101
	// 127.0.0.1:9102
	// <nil> ports 9101+2 good
}
