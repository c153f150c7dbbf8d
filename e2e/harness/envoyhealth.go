package harness

import "fmt"

// EnvoyHealth returns what Envoy holds of the health of a service's endpoints, by
// pod, as xDS names it: HEALTHY, DRAINING, UNHEALTHY.
func (s *Stack) EnvoyHealth(service string) (map[string]string, error) {
	var clusters struct {
		Statuses []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Health struct {
					EDS string `json:"eds_health_status"`
				} `json:"health_status"`
				Address struct {
					Socket struct {
						Address string `json:"address"`
						Port    int    `json:"port_value"`
					} `json:"socket_address"`
				} `json:"address"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := JSON(s.EnvoyAdmin+"/clusters?format=json", &clusters); err != nil {
		return nil, err
	}
	health := map[string]string{}
	for _, c := range clusters.Statuses {
		if c.Name != service {
			continue
		}
		for _, h := range c.Hosts {
			at := fmt.Sprintf("%s:%d", h.Address.Socket.Address, h.Address.Socket.Port)
			health[s.podAt(at)] = h.Health.EDS
		}
	}
	return health, nil
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
