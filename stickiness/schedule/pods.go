package schedule

import "github.com/stateful-route/stateful-route/stickiness/gateway"

// ofPods are about what happens to pods.
func ofPods() []Schedule {
	scaling := []gateway.Feature{gateway.Scaling}
	checked := []gateway.Feature{gateway.HealthChecks}
	return []Schedule{
		{Name: "calm", Description: "nothing happens"},
		{
			Name: "scale-up", Description: "a pod is added", Needs: scaling,
			Steps: []Step{{At: .35, Do: AddPod, Which: 3}},
		},
		{
			Name: "scale-down", Description: "a pod is removed", Needs: scaling,
			Steps: []Step{{At: .35, Do: RemovePod, Which: 0}},
		},
		{
			Name: "rolling-replacement", Description: "one after the other, each pod is replaced by a new one", Needs: scaling,
			Steps: []Step{
				{At: .2, Do: AddPod, Which: 3},
				{At: .3, Do: RemovePod, Which: 0},
				{At: .4, Do: AddPod, Which: 4},
				{At: .5, Do: RemovePod, Which: 1},
				{At: .6, Do: AddPod, Which: 5},
				{At: .7, Do: RemovePod, Which: 2},
			},
		},
		{
			Name: "pod-kill", Description: "a pod is killed (-9) and stays dead", Needs: checked,
			Steps: []Step{{At: .35, Do: KillPod, Which: 0}},
		},
		{
			Name: "pod-restart", Description: "a pod is killed and starts again at the same address", Needs: checked,
			Steps: []Step{{At: .3, Do: KillPod, Which: 0}, {At: .5, Do: StartPod, Which: 0}},
		},
		{
			Name: "pod-moved", Description: "a pod is killed and starts again at another address",
			Needs: []gateway.Feature{gateway.HealthChecks, gateway.Moving},
			Steps: []Step{{At: .3, Do: KillPod, Which: 0}, {At: .5, Do: MovePod, Which: 0}},
		},
		{
			Name: "pod-pause", Description: "a pod stands still (SIGSTOP) and goes on", Needs: checked,
			Steps: []Step{{At: .25, Do: PausePod, Which: 0}, {At: .7, Do: ResumePod, Which: 0}},
		},
		{
			Name: "health-flapping", Description: "a pod's health check says bad and good in turn; it serves all the time", Needs: checked,
			Steps: []Step{
				{At: .2, Do: SickenPod, Which: 0}, {At: .3, Do: HealPod, Which: 0},
				{At: .4, Do: SickenPod, Which: 0}, {At: .5, Do: HealPod, Which: 0},
				{At: .6, Do: SickenPod, Which: 0}, {At: .7, Do: HealPod, Which: 0},
			},
		},
		{
			Name: "drain", Description: "a pod drains: it keeps its sessions and gets no new ones", Needs: []gateway.Feature{gateway.Drain},
			Steps: []Step{{At: .3, Do: DrainPod, Which: 0}},
		},
	}
}
