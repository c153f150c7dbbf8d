package main

import (
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/livepage"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/load"
	"github.com/stateful-route/stateful-route/xds/state"
)

// liveState is what the live page shows of now.
func (a *app) liveState(now time.Time) livepage.State {
	report := a.analysis.analyzer.Overview(now, "")
	state := livepage.State{
		Time:    now,
		Process: livepage.Process{Version: a.process.Version, Started: a.started, Ready: a.ready.Load(), ConfigError: a.reload.problem(), Degraded: a.degraded()},
		Clients: liveClients(a.server.Clients()),
		Summary: report.Summary, Issues: report.Issues, Suggestions: report.Suggestions,
	}
	admin := a.admin()
	for _, svc := range a.server.Model().Services {
		out := livepage.Service{
			Name: svc.Name, Hosts: svc.Hosts, Prefix: svc.Prefix, Strategy: svc.Balancing.Strategy,
			OnPodLoss: string(svc.Session.OnPodLoss), OnExtprocLoss: string(svc.Session.OnExtprocLoss),
			Source: a.sources.Status(svc.Name).Note(),
		}
		for _, p := range admin.PodReports(svc) {
			out.Pods = append(out.Pods, livepage.Pod{
				Name: p.Name, Address: p.Address, Zone: p.Zone, State: p.State, Weight: p.Weight,
				InFlight: p.InFlight, ResponseTime: p.ResponseTime, ErrorRate: p.ErrorRate, Sessions: p.Sessions,
			})
		}
		state.Services = append(state.Services, out)
	}
	return state
}

// liveClients makes one client of the rows of one stream, which follow each
// other only by type.
func liveClients(rows []xds.ClientStatus) []livepage.Client {
	type stream struct {
		kind, node, protocol string
		connected            float64 // of one moment: the same in all rows of a stream
	}
	var clients []livepage.Client
	index := map[stream]int{}
	for _, row := range rows {
		id := stream{row.Client, row.Node, row.Protocol, row.Connected}
		i, ok := index[id]
		if !ok {
			i = len(clients)
			index[id] = i
			clients = append(clients, livepage.Client{Node: row.Node, Kind: row.Client, Protocol: row.Protocol, Connected: row.Connected})
		}
		clients[i].Types = append(clients[i].Types, livepage.Sync{
			Type: row.Type, Version: row.Version, Status: row.Status, Reason: row.Reason, Age: row.Age,
		})
	}
	return clients
}

// liveSeconds sums a second's load reports up by service.
func liveSeconds(services []*state.ServiceView, taken load.Taken) map[string]livepage.Second {
	out := make(map[string]livepage.Second, len(services))
	for _, svc := range services {
		out[svc.Name] = livepage.Second{}
	}
	for _, w := range taken.Windows {
		second, ok := out[w.Service]
		if !ok {
			continue // the service was removed
		}
		second.Requests += w.Succeeded + w.Failed
		second.Failed += w.Failed
		second.Sessions += w.Sessions
		second.ResponseTimes.Merge(analysis.BucketedDurations(wire.ResponseTimeBounds(), w.Buckets, w.ResponseTime))
		out[w.Service] = second
	}
	return out
}
