package main

import (
	"time"

	"github.com/stateful-route/stateful-route/affinity/shared"
	"github.com/stateful-route/stateful-route/extproc/admin"
)

// replicas is what this process knows of all that share its bindings.
func (a *App) replicas() admin.Replicas {
	if a.shared == nil {
		return admin.Replicas{
			Store: admin.Store{Kind: admin.StoreMemory, State: admin.StoreOpen},
			Replicas: []admin.Replica{{
				ID: a.replica, Self: true, Registered: true, Store: admin.StoreOpen,
				Address: a.opts.Config.Listen, Admin: a.opts.Config.Admin, Version: a.opts.Version, Started: a.began,
				Bindings: a.table.Stats().Size,
			}},
		}
	}
	return toReplicas(a.shared.table.View(), a.opts.Config.Store.Valkey.Addresses)
}

func toReplicas(v shared.View, addresses []string) admin.Replicas {
	out := admin.Replicas{Store: admin.Store{
		Kind: admin.StoreValkey, State: string(v.State), Error: v.Reason, Incarnation: v.Incarnation, Addresses: addresses,
		Lease: v.Lease.Seconds(), Position: v.Position,
	}}
	if v.Age >= 0 {
		out.Store.Age = seconds(v.Age)
	}
	for _, r := range v.Replicas {
		out.Replicas = append(out.Replicas, toReplica(r))
	}
	return out
}

func toReplica(r shared.ReplicaView) admin.Replica {
	out := admin.Replica{
		ID: r.ID, Self: r.Self, Registered: r.Registered,
		Address: r.Info.Address, Admin: r.Info.Admin, Version: r.Info.Version, Started: r.Info.Started,
		Store: string(r.State), Bindings: r.Info.Held, Conflicts: r.Info.Conflicts,
		LastConflict: r.Info.LastConflict, Position: r.Position,
	}
	if r.State != shared.StateUnknown {
		out.LeaseLeft = seconds(r.Left)
	}
	if r.Beats > 0 {
		out.Age = seconds(r.Age)
	}
	return out
}

func seconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}
