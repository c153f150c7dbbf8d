// Package envoyproc starts Envoys for adapters, and asks their admin interfaces.
package envoyproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// Generation is the restart epoch of the Envoy that is live and answers at the address.
func Generation(ctx context.Context, address string) (int, error) {
	var info struct {
		State   string `json:"state"`
		Options struct {
			RestartEpoch int `json:"restart_epoch"`
		} `json:"command_line_options"`
	}
	if err := JSON(ctx, http.MethodGet, "http://"+address+"/server_info", &info); err != nil {
		return 0, err
	}
	if info.State != "LIVE" {
		return 0, fmt.Errorf("state %s", info.State)
	}
	return info.Options.RestartEpoch, nil
}

type clusters struct {
	All []struct {
		Name  string `json:"name"`
		Hosts []struct {
			Address struct {
				Socket struct {
					IP   string `json:"address"`
					Port int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"address"`
			Health struct {
				EDS string `json:"eds_health_status"`
			} `json:"health_status"`
		} `json:"host_statuses"`
	} `json:"cluster_statuses"`
}

// Holds reports nil once the Envoy's cluster has exactly these pods, the draining ones as such.
func Holds(ctx context.Context, address, cluster string, pods []gateway.Pod) error {
	var status clusters
	if err := JSON(ctx, http.MethodGet, "http://"+address+"/clusters?format=json", &status); err != nil {
		return err
	}
	draining := map[string]bool{}
	for _, c := range status.All {
		if c.Name != cluster {
			continue
		}
		for _, h := range c.Hosts {
			draining[net.JoinHostPort(h.Address.Socket.IP, strconv.Itoa(h.Address.Socket.Port))] = h.Health.EDS == "DRAINING"
		}
	}
	for _, pod := range pods {
		if d, ok := draining[pod.Address]; !ok || d != (pod.State == gateway.Draining) {
			return fmt.Errorf("%s is not an endpoint as %s", pod.Name, pod.State)
		}
	}
	if len(draining) != len(pods) {
		return errors.New("there are more endpoints")
	}
	return nil
}

// JSON asks an admin interface, by a connection of its own: who answers at the address may change.
func JSON(ctx context.Context, method, url string, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return err
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: status %d", method, url, answer.StatusCode)
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}
