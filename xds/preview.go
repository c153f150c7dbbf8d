package xds

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/xds/build"
	"github.com/stateful-route/stateful-route/xds/discovery"
	"github.com/stateful-route/stateful-route/xds/secret"
	"github.com/stateful-route/stateful-route/xds/state"
)

// Preview returns what Envoys would get from a configuration file. It reads and
// checks all a server does at its start, files of pods and certificates included, and
// holds private keys, which are not to be shown. DNS and HTTP sources
// are asked; without an answer their pods are missing.
func Preview(ctx context.Context, file string, opts ...config.Option) (build.Resources, error) {
	cfg, err := config.LoadXDSServer(file, opts...)
	if err != nil {
		return nil, err
	}
	sources := &discovery.Manager{Logger: zap.NewNop()}
	pods, err := sources.Load(ctx, cfg.Services)
	if err != nil {
		return nil, err
	}
	gateway := state.GatewayOf(cfg.Envoy)
	if gateway.Secrets, err = secret.Read(cfg.Secrets()); err != nil {
		return nil, err
	}
	store, now := state.NewStore(), time.Now()
	store.SetConfig(now, gateway, cfg.Services)
	for _, svc := range cfg.Services {
		if list, ok := pods[svc.Name]; ok {
			if err := store.SetPods(now, svc.Name, svc.Pods, list); err != nil {
				return nil, err
			}
		}
	}
	built, err := build.All(store.Model())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return built, nil
}
