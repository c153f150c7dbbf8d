package wire

import (
	"reflect"
	"slices"

	statefulroute "github.com/stateful-route/stateful-route"
)

// ServiceState is one service as xds-server last described it.
type ServiceState struct {
	Service statefulroute.Service
	Pods    []statefulroute.Pod
}

// Same reports whether two states of a service ask for the same. What they share
// is not looked at.
func (s *ServiceState) Same(o *ServiceState) bool {
	shared := len(s.Pods) == len(o.Pods) && (len(s.Pods) == 0 || &s.Pods[0] == &o.Pods[0])
	return (shared || slices.Equal(s.Pods, o.Pods)) && reflect.DeepEqual(s.Service, o.Service)
}
