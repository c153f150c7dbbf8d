package xds

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/build"
	"github.com/stateful-route/stateful-route/xds/state"
)

// given are the names under which one type of client has a service.
type given struct {
	cluster   *clusterv3.Cluster
	endpoints string
}

// publish gives the clients what one step of the rollout has for them, which is
// one publication to each.
func (s *Server) publish(pubs []Publication) {
	for len(pubs) > 0 {
		n := slices.IndexFunc(pubs, func(p Publication) bool { return p.To != pubs[0].To })
		if n < 0 {
			n = len(pubs)
		}
		s.publishTo(pubs[0].To, pubs[:n])
		pubs = pubs[n:]
	}
}

func (s *Server) publishTo(to wire.ClientType, pubs []Publication) {
	ch, asked := newChanges(), pubs[0].Asked
	for _, p := range pubs {
		if p.Asked.Before(asked) {
			asked = p.Asked
		}
		var err error
		switch {
		case p.Service == "":
			err = s.addShared(&ch, p.Shared)
		case p.View == nil:
			s.endService(ch, to, p.Service)
		default:
			err = s.addService(ch, to, p.View)
		}
		if err != nil {
			// The target was built when it was set, and what is on its way to it is made of
			// the same parts: a fault of ours, and no reason to tell others nothing.
			s.opts.Logger.Error("not published: clients keep the last good state", zap.String("to", to.String()),
				zap.String("service", p.Service), zap.Error(err))
		}
	}
	s.clients.publishing(to, asked)
	s.caches.publish(to, pubs[0].Seq, ch)
}

func (s *Server) addService(ch changes, to wire.ClientType, svc *state.ServiceView) error {
	built, err := s.builder.Service(svc, to)
	if err != nil {
		return err
	}
	s.builder.Trim(svc.Name)
	had, name := s.given[to][svc.Name], built.Endpoints.ClusterName
	if built.Cluster != had.cluster {
		ch.set[resourcev3.ClusterType][svc.Name] = built.Cluster
	}
	if had.endpoints != "" && had.endpoints != name {
		ch.gone[resourcev3.EndpointType] = append(ch.gone[resourcev3.EndpointType], had.endpoints)
	}
	ch.set[resourcev3.EndpointType][name] = built.Endpoints
	s.given[to][svc.Name] = given{built.Cluster, name}
	return nil
}

func (s *Server) endService(ch changes, to wire.ClientType, name string) {
	had, ok := s.given[to][name]
	if !ok {
		return
	}
	delete(s.given[to], name)
	ch.gone[resourcev3.ClusterType] = append(ch.gone[resourcev3.ClusterType], name)
	ch.gone[resourcev3.EndpointType] = append(ch.gone[resourcev3.EndpointType], had.endpoints)
	if !s.isGiven(name) {
		s.builder.Forget(name)
	}
}

func (s *Server) isGiven(name string) bool {
	_, envoys := s.given[wire.Envoy][name]
	_, extprocs := s.given[wire.Extproc][name]
	return envoys || extprocs
}

func (s *Server) addShared(ch *changes, m state.Model) error {
	built, err := build.Shared(m)
	if err != nil {
		return err
	}
	for typeURL, resources := range built {
		for name, res := range resources {
			if had, ok := s.shared[typeURL][name]; !ok || !proto.Equal(had, res) {
				ch.set[typeURL][name] = res
			}
		}
		for name := range s.shared[typeURL] {
			if _, ok := resources[name]; !ok {
				ch.gone[typeURL] = append(ch.gone[typeURL], name)
			}
		}
	}
	s.shared, ch.listeners = built, &m
	return nil
}
