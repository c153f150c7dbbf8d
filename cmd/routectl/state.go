package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// serverState is how one server is.
type serverState struct {
	Kind  string `json:"kind"`
	URL   string `json:"url"`
	State string `json:"state"` // ready, not ready or unreachable
	// Reason says why it is not ready, or how it failed to answer.
	Reason  string `json:"reason,omitempty"`
	Version string `json:"version"`
	// Degraded says what works less than it should though the server is ready, such
	// as orders that cannot be written.
	Degraded []string `json:"degraded,omitempty"`
	// ConfigGood is false when a changed configuration was refused and the last
	// good one kept; ConfigError says why, as far as the server tells.
	ConfigGood  bool   `json:"config_good"`
	ConfigError string `json:"config_error,omitempty"`
	// Table is extproc's session table.
	Table *tableState `json:"cache,omitempty"`
}

// tableState is what status shows of a session table.
type tableState struct {
	Strategy string  `json:"strategy"`
	Size     int     `json:"size"`
	Capacity int     `json:"capacity"`
	HitRate  float64 `json:"hit_rate"`
}

// states asks every server; one that fails to answer is a state, not an error.
func (c *ctl) states(ctx context.Context) []serverState {
	all := []serverState{c.xds().state(ctx, server.xdsDetails)}
	for _, s := range c.extprocs() {
		all = append(all, s.state(ctx, server.extprocDetails))
	}
	return all
}

// state asks whether a server is ready, and more where it answers at all.
func (s server) state(ctx context.Context, details func(server, context.Context, *serverState) error) serverState {
	out := serverState{Kind: s.kind, URL: s.url, State: "ready"}
	var refused *apiError
	var readiness struct{ Degraded []string }
	err := s.get(ctx, "/readyz", &readiness)
	out.Degraded = readiness.Degraded
	switch {
	case errors.As(err, &refused):
		out.State, out.Reason = "not ready", err.Error()
		err = nil
	case err != nil:
		out.State, out.Reason = "unreachable", err.Error()
	}
	if err == nil {
		err = details(s, ctx, &out)
	}
	if err != nil && out.Reason == "" {
		out.Reason = err.Error()
	}
	return out
}

func (s server) xdsDetails(ctx context.Context, out *serverState) error {
	var said struct {
		Version string
		Config  struct {
			Good  bool
			Error string
		}
	}
	if err := s.get(ctx, "/api/v1/status", &said); err != nil {
		return err
	}
	out.Version, out.ConfigGood, out.ConfigError = said.Version, said.Config.Good, said.Config.Error
	return nil
}

func (s server) extprocDetails(ctx context.Context, out *serverState) error {
	var stats struct {
		Table tableState `json:"cache"`
	}
	if err := s.get(ctx, "/api/v1/stats", &stats); err != nil {
		return err
	}
	out.Table = &stats.Table
	raw, err := s.ask(ctx, "GET", "/metrics", nil)
	if err != nil {
		return err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("%s: its metrics: %w", s, err)
	}
	out.Version = label(families["stateful_route_build_info"], "version")
	reload := families["stateful_route_config_last_reload_successful"].GetMetric()
	out.ConfigGood = len(reload) == 0 || reload[0].GetGauge().GetValue() == 1
	if !out.ConfigGood {
		out.ConfigError = "its log says why"
	}
	return nil
}

// label returns a label of a family's first metric.
func label(family *dto.MetricFamily, name string) string {
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == name {
				return l.GetValue()
			}
		}
	}
	return ""
}
