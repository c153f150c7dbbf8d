package main

import (
	"time"

	"github.com/stateful-route/stateful-route/livepage"
)

// liveState is what the live page shows of now.
func (a *app) liveState(now time.Time) livepage.State {
	report := a.analyzer.Overview(now, "")
	state := livepage.State{
		Time:    now,
		Process: livepage.Process{Version: a.process.Version, Started: a.started, Ready: a.ready.Load(), ConfigError: a.reload.problem(), Degraded: a.degraded()},
		Clients: livepage.Clients(a.server.Clients()), Extprocs: livepage.Extprocs(a.loads.Replicas()),
		Summary: report.Summary, Issues: report.Issues, Suggestions: report.Suggestions,
	}
	admin := a.admin()
	for _, svc := range a.server.Model().Services {
		state.Services = append(state.Services, livepage.NewService(svc, admin.PodReports(svc), a.sources.Status(svc.Name).Note()))
	}
	return state
}
