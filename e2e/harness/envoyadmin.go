package harness

import (
	"fmt"
	"net"
	"slices"
	"strconv"
)

// envoyHost is an endpoint of one of Envoy's clusters.
type envoyHost struct {
	Weight int `json:"weight"`
	Health struct {
		EDS     string `json:"eds_health_status"`
		Failed  bool   `json:"failed_active_health_check"`
		Outlier bool   `json:"failed_outlier_check"`
	} `json:"health_status"`
	Address struct {
		Socket struct {
			Address string `json:"address"`
			Port    int    `json:"port_value"`
		} `json:"socket_address"`
		Pipe struct {
			Path string `json:"path"`
		} `json:"pipe"`
	} `json:"address"`
}

func (h envoyHost) address() string {
	if h.Address.Pipe.Path != "" {
		return "unix:" + h.Address.Pipe.Path
	}
	return net.JoinHostPort(h.Address.Socket.Address, strconv.Itoa(h.Address.Socket.Port))
}

// envoyClusters returns the endpoints of Envoy's clusters, by name.
func (s *Stack) envoyClusters() (map[string][]envoyHost, error) {
	var clusters struct {
		Statuses []struct {
			Name  string      `json:"name"`
			Hosts []envoyHost `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := JSON(s.EnvoyAdmin+"/clusters?format=json", &clusters); err != nil {
		return nil, err
	}
	hosts := map[string][]envoyHost{}
	for _, c := range clusters.Statuses {
		hosts[c.Name] = c.Hosts
	}
	return hosts, nil
}

// EnvoyHealth returns what Envoy holds of the health of a service's endpoints, by
// pod, as xDS names it: HEALTHY, DRAINING, UNHEALTHY.
func (s *Stack) EnvoyHealth(service string) (map[string]string, error) {
	clusters, err := s.envoyClusters()
	health := map[string]string{}
	for _, h := range clusters[service] {
		health[s.podAt(h.address())] = h.Health.EDS
	}
	return health, err
}

// EnvoyWeights returns the weights that Envoy gives the endpoints of a service,
// by pod.
func (s *Stack) EnvoyWeights(service string) (map[string]int, error) {
	clusters, err := s.envoyClusters()
	weights := map[string]int{}
	for _, h := range clusters[service] {
		weights[s.podAt(h.address())] = h.Weight
	}
	return weights, err
}

// AsksReplica is a check for Eventually: whether Envoy sends callouts to the extproc.
func (s *Stack) AsksReplica(r Replica, asks bool) func() error {
	return func() error {
		clusters, err := s.envoyClusters()
		if err != nil {
			return err
		}
		for _, h := range clusters["stateful-route-extproc"] {
			if h.address() == r.Address && (h.Health.Failed || h.Health.Outlier) != asks {
				return nil
			}
		}
		return fmt.Errorf("that Envoy asks %s is not %v", r.Name, asks)
	}
}

func (s *Stack) podAt(address string) string {
	for _, svc := range s.config.Services {
		for _, p := range svc.Pods.Static {
			if p.Address == address {
				return p.Name
			}
		}
	}
	return address
}

// InEnvoy is a check for Eventually: Envoy's own view of whether the pod gets new
// traffic.
func (s *Stack) InEnvoy(service, pod string, serves bool) func() error {
	return func() error {
		health, err := s.EnvoyHealth(service)
		if err == nil && (health[pod] == "HEALTHY") != serves {
			err = fmt.Errorf("envoy holds %s for %s", pod, health[pod])
		}
		return err
	}
}

// hasPods is a check for Eventually: Envoy's clusters have exactly the configured
// pods.
func (s *Stack) hasPods() error {
	clusters, err := s.envoyClusters()
	if err != nil {
		return err
	}
	for _, svc := range s.config.Services {
		var have, want []string
		for _, h := range clusters[svc.Name] {
			have = append(have, h.address())
		}
		for _, p := range svc.Pods.Static {
			want = append(want, p.Address)
		}
		slices.Sort(have)
		slices.Sort(want)
		if _, known := clusters[svc.Name]; !known || !slices.Equal(have, want) {
			return fmt.Errorf("service %s: Envoy has %v, want %v", svc.Name, have, want)
		}
	}
	return nil
}

// EnvoyStat returns one of Envoy's own counters or gauges.
func (s *Stack) EnvoyStat(name string) (int, error) {
	var stats struct {
		Stats []struct {
			Name  string `json:"name"`
			Value int    `json:"value"`
		} `json:"stats"`
	}
	if err := JSON(s.EnvoyAdmin+"/stats?format=json&type=All&filter=^"+name+"$", &stats); err != nil {
		return 0, err
	}
	for _, st := range stats.Stats {
		if st.Name == name {
			return st.Value, nil
		}
	}
	return 0, fmt.Errorf("envoy has no statistic %s", name)
}
