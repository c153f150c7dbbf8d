package schedule

import "github.com/stateful-route/stateful-route/stickiness/gateway"

// ofGateways are about what happens to gateways.
func ofGateways() []Schedule {
	two := []gateway.Feature{gateway.TwoGateways}
	apart := []gateway.Feature{gateway.ControlPlaneApart}
	return []Schedule{
		{
			Name: "gateway-reload", Description: "the gateway reloads its configuration, twice", Needs: []gateway.Feature{gateway.Reload},
			Steps: []Step{{At: .3, Do: Reload}, {At: .6, Do: Reload}},
		},
		{
			Name: "gateway-kill", Description: "the gateway is killed (-9) and starts again",
			Steps: []Step{{At: .35, Do: KillGateway}, {At: .4, Do: StartGateway}},
		},
		{
			Name: "two-gateways", Description: "sessions alternate between two gateways", Needs: two, Gateways: 2,
		},
		{
			Name: "two-gateways-race", Description: "and each begins at both of them at once", Gateways: 2,
			Needs:   []gateway.Feature{gateway.TwoGateways, gateway.ClientIDs},
			Clients: Clients{Race: true},
		},
		{
			Name: "two-gateways-kill", Description: "one of two gateways is killed (-9) and starts again", Needs: two, Gateways: 2,
			Steps: []Step{{At: .3, Do: KillGateway}, {At: .5, Do: StartGateway}},
		},
		{
			Name: "two-gateways-pod-kill", Description: "a pod behind two gateways is killed", Gateways: 2,
			Needs: []gateway.Feature{gateway.TwoGateways, gateway.HealthChecks},
			Steps: []Step{{At: .35, Do: KillPod, Which: 0}},
		},
		{
			Name: "control-plane-away", Description: "the control plane is killed (-9) and comes back", Needs: apart,
			Steps: []Step{{At: .25, Do: Away}, {At: .65, Do: Back}},
		},
		{
			Name: "control-plane-away-pod-kill", Description: "a pod is killed while it is away",
			Needs: []gateway.Feature{gateway.ControlPlaneApart, gateway.HealthChecks},
			Steps: []Step{{At: .25, Do: Away}, {At: .35, Do: KillPod, Which: 0}, {At: .65, Do: Back}},
		},
	}
}
