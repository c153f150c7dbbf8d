package statefulroute

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stateful-route/stateful-route/stickiness/adapters/envoyproc"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// order waits for xds-server, and for Envoy if that runs, to have the pods, and orders drains.
func (m *machine) order(ctx context.Context, pods []gateway.Pod) error {
	service := "http://" + m.XDSAdmin + "/api/v1/services/chat/pods"
	if !m.control.Running() {
		return nil // it reads the file as it starts
	}
	known := map[string]knownPod{}
	if err := m.control.Until(ctx, func(ctx context.Context) (err error) {
		known, err = podsOf(ctx, service, pods)
		return err
	}); err != nil {
		return err
	}
	for _, pod := range pods {
		action := ""
		switch draining := known[pod.Name].State == "draining"; {
		case pod.State == gateway.Draining && !draining:
			action = "/drain"
		case pod.State != gateway.Draining && draining:
			action = "/ready"
		default:
			continue
		}
		var answer any
		if err := envoyproc.JSON(ctx, http.MethodPost, service+"/"+pod.Name+action, &answer); err != nil {
			return err
		}
	}
	if !m.Running() {
		return nil
	}
	if err := m.Until(ctx, func(ctx context.Context) error { return envoyproc.Holds(ctx, m.EnvoyAdmin, "chat", pods) }); err != nil {
		return err
	}
	return m.Until(ctx, m.leads)
}

type knownPod struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	State   string `json:"state"`
}

// podsOf is what xds-server has, an error while these are not the pods.
func podsOf(ctx context.Context, url string, pods []gateway.Pod) (map[string]knownPod, error) {
	var list []knownPod
	if err := envoyproc.JSON(ctx, http.MethodGet, url, &list); err != nil {
		return nil, err
	}
	known := map[string]knownPod{}
	for _, k := range list {
		known[k.Name] = k
	}
	for _, pod := range pods {
		if known[pod.Name].Address != pod.Address {
			return nil, fmt.Errorf("xds-server does not have %s at %s", pod.Name, pod.Address)
		}
	}
	if len(known) != len(pods) {
		return nil, errors.New("xds-server has more pods")
	}
	return known, nil
}
