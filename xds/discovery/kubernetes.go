package discovery

import (
	"context"
	"errors"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
)

// Kubernetes is the source `kubernetes: {namespace, service, port}`, which is refused
// as not supported yet.
type Kubernetes struct {
	Namespace string `yaml:"namespace"`
	Service   string `yaml:"service"`
	Port      string `yaml:"port"`
}

const noKubernetes = "this source is not supported yet: use static, file, dns or http"

// String implements statefulroute.PodDiscovery.
func (k *Kubernetes) String() string {
	return "kubernetes " + k.Namespace + "/" + k.Service + ":" + k.Port
}

// Written implements statefulroute.PodDiscovery.
func (*Kubernetes) Written() bool { return false }

// Check implements Config.
func (*Kubernetes) Check(doc *strictyaml.Document, at strictyaml.Path) { doc.Refuse(at, noKubernetes) }

// NewDiscoverer implements Config.
func (*Kubernetes) NewDiscoverer(Options) Discoverer {
	return Poll(time.Hour, func(context.Context) ([]statefulroute.Pod, error) { return nil, errors.New(noKubernetes) })
}
