package schedule

import (
	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/history"
)

// ofClients are about what clients send.
func ofClients() []Schedule {
	chosen := []gateway.Feature{gateway.ClientIDs}
	return []Schedule{
		{
			Name: "id-flood", Description: "for each request three new sessions of one request each",
			Clients: Clients{Flood: 3},
		},
		{
			Name: "forged-headers", Description: "headers and cookies of other gateways that name another pod",
			Clients: Clients{Forge: true},
		},
		{
			Name: "shared-prefix", Description: "ids that share their first 32 characters",
			Needs:   chosen,
			Clients: Clients{IDs: SharedPrefix},
		},
		{
			Name: "id-lengths", Description: "ids of 1 to 8,000 bytes", Needs: []gateway.Feature{gateway.ClientIDs, gateway.LongIDs},
			Clients: Clients{IDs: AllLengths},
		},
		{
			Name: "stale-cookies", Description: "half of the sessions begin with a cookie of nobody's; a pod is replaced by a new one", Cookie: true,
			Needs: []gateway.Feature{gateway.Scaling}, Clients: Clients{Stale: true},
			Steps: []Step{{At: .35, Do: RemovePod, Which: 0}, {At: .5, Do: AddPod, Which: 3}},
		},
		{
			Name: "doubled-cookies", Description: "a second cookie of the same name, of nobody's, comes after the right one", Cookie: true,
			Clients: Clients{Doubled: true},
		},
	}
}

// ofStreams are about streams that are held while pods come and die.
func ofStreams() []Schedule {
	row := func(name string, kind history.Kind, feature gateway.Feature) Schedule {
		return Schedule{
			Name: name, Description: "each session holds one while a pod is added and another is killed",
			Needs:   []gateway.Feature{feature, gateway.Scaling, gateway.HealthChecks},
			Clients: Clients{Streams: kind},
			Steps:   []Step{{At: .3, Do: AddPod, Which: 3}, {At: .5, Do: KillPod, Which: 0}},
		}
	}
	return []Schedule{
		row("websocket", history.WebSocket, gateway.WebSocket),
		row("event-stream", history.Events, gateway.EventStream),
		row("grpc", history.GRPC, gateway.GRPC),
	}
}
