package harness

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// Change edits xds-server's configuration while everything runs, starts demo
// pods for those that are new, and returns when Envoy has the pods it says.
// Pods that were removed keep running: Envoy must leave them by itself.
func (s *Stack) Change(t testing.TB, edit func(*Config)) {
	t.Helper()
	edit(&s.config)
	s.startPods(t)
	s.config.write(t, s.configFile)
	s.WaitPods(t)
}

// RemovePod returns the list without the pod.
func RemovePod(pods []Pod, name string) []Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p Pod) bool { return p.Name == name })
}

// WaitPods returns when Envoy's clusters have exactly the configured pods.
func (s *Stack) WaitPods(t testing.TB) {
	t.Helper()
	Eventually(t, Patience, "Envoy has the configured pods", func() error {
		have, err := s.EnvoyHosts()
		if err != nil {
			return err
		}
		for _, svc := range s.config.Services {
			var want []string
			for _, p := range svc.Pods.Static {
				want = append(want, p.Address)
			}
			slices.Sort(want)
			if !slices.Equal(have[svc.Name], want) {
				return fmt.Errorf("service %s: Envoy has %v, want %v", svc.Name, have[svc.Name], want)
			}
		}
		return nil
	})
}

// Client is one row of xds-server's /api/v1/envoys.
type Client struct {
	Node   string `json:"node"`
	Client string `json:"client"` // envoy or extproc
	Type   string `json:"type"`
	Status string `json:"status"` // ack, nack or pending; waiting: there was nothing to send
	Reason string `json:"reason"`
}

// WaitClients returns when xds-server says that Envoy and extproc are connected
// and have acknowledged all they were sent. A refusal fails the test.
func (s *Stack) WaitClients(t testing.TB) {
	t.Helper()
	Eventually(t, Patience, "Envoy and extproc have acknowledged what they were sent", func() error {
		var rows []Client
		if err := JSON(s.XDSAdmin+"/api/v1/envoys", &rows); err != nil {
			return err
		}
		seen := map[string]bool{}
		for _, c := range rows {
			if c.Status == "nack" {
				t.Fatalf("%s refuses %s: %s", c.Node, c.Type, c.Reason)
			}
			if c.Status == "pending" {
				return fmt.Errorf("%s has not acknowledged %s", c.Node, c.Type)
			}
			seen[c.Client+" "+c.Type] = true
		}
		for _, want := range []string{"envoy lds", "envoy rds", "envoy cds", "envoy eds", "extproc cds", "extproc eds"} {
			if !seen[want] {
				return fmt.Errorf("no %s among %v", want, rows)
			}
		}
		return nil
	})
}

// EnvoyHosts returns the addresses in each of Envoy's clusters, sorted.
func (s *Stack) EnvoyHosts() (map[string][]string, error) {
	var clusters struct {
		Statuses []struct {
			Name  string `json:"name"`
			Hosts []struct {
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
	hosts := map[string][]string{}
	for _, c := range clusters.Statuses {
		list := []string{}
		for _, h := range c.Hosts {
			list = append(list, net.JoinHostPort(h.Address.Socket.Address, strconv.Itoa(h.Address.Socket.Port)))
		}
		slices.Sort(list)
		hosts[c.Name] = list
	}
	return hosts, nil
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

// Misbehave tells a demo pod to be slow or failing, or well again; see the
// /control of cmd/demo-pod.
func (s *Stack) Misbehave(t testing.TB, pod, control string) {
	t.Helper()
	if _, err := Call("POST", "http://"+s.PodAddress(t, pod)+"/control", control); err != nil {
		t.Fatal(err)
	}
}

// Validate has xds-server check a configuration and returns what it printed.
func (s *Stack) Validate(t testing.TB, c Config) (output string, ok bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "xds-server.yaml")
	c.write(t, file)
	p := s.program(t, "xds-server", "--config", file, "--check")
	return p.Log(t), p.ExitCode() == 0
}
