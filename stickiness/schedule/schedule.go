// Package schedule is what is done to gateways and pods, and what clients do
// meanwhile: plain data, the same for the same seed. A new schedule is a row of
// one of the tables that All joins.
package schedule

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/history"
)

// Action is something that is done once.
type Action string

// The actions. Those of pods are about the pod Step.Which.
const (
	AddPod       Action = "add pod"      // a new one, started and then listed
	RemovePod    Action = "remove pod"   // from the list, and then stopped
	KillPod      Action = "kill pod"     // SIGKILL; the list stays
	StartPod     Action = "start pod"    // again, at the same address
	MovePod      Action = "move pod"     // start it again at another address, and list that
	PausePod     Action = "pause pod"    // SIGSTOP
	ResumePod    Action = "resume pod"   // SIGCONT
	SickenPod    Action = "sicken pod"   // its health check says 503; it serves all the same
	HealPod      Action = "heal pod"     // its health check says 200 again
	DrainPod     Action = "drain pod"    // it is listed as draining
	Reload       Action = "reload"       // all gateways
	KillGateway  Action = "kill gateway" // gateway Step.Which, SIGKILL
	StartGateway Action = "start gateway"
	Away         Action = "control plane away"
	Back         Action = "control plane back"
)

// Step is an action at a time.
type Step struct {
	At    float64 // of the duration, from 0 to 1
	Do    Action
	Which int // which pod, in an order that the seed makes; from Schedule.Pods on a new one
}

// IDs are the ids of sessions whose client chooses them.
type IDs string

// The kinds of ids.
const (
	UUIDs        IDs = ""              // 36 characters
	SharedPrefix IDs = "shared prefix" // the first 32 characters are the same for all
	AllLengths   IDs = "all lengths"   // of 1 to 8,000 bytes
)

// Clients are what the clients of a schedule do beside plain requests.
type Clients struct {
	IDs IDs
	// Streams has every session hold a stream of this kind; every third visit is
	// a request all the same.
	Streams history.Kind
	// Race has every session begin with a request to each gateway at once.
	Race bool
	// Forge adds headers and cookies by which gateways are told of pods.
	Forge bool
	// Stale has every second session begin with a cookie that is nobody's.
	Stale bool
	// Doubled sends a second cookie of the key's name after the right one.
	Doubled bool
	// Flood is how many sessions of one request come beside each ordinary
	// request, from FloodFrom to FloodUntil.
	Flood int
}

// The time of a flood, of the duration.
const (
	FloodFrom  = 0.3
	FloodUntil = 0.7
)

// Schedule is one row of the table.
type Schedule struct {
	Name        string
	Description string
	Needs       []gateway.Feature
	Cookie      bool // it needs a key that travels in a cookie
	Gateways    int  // 1 if 0
	Clients     Clients
	Steps       []Step
}

// Pods is how many there are at the start of every schedule.
const Pods = 3

// All are the schedules in the order of the table.
func All() []Schedule {
	var out []Schedule
	for _, table := range [][]Schedule{ofPods(), ofGateways(), ofClients(), ofStreams()} {
		out = append(out, table...)
	}
	return out
}

// GatewayCount is how many gateways it takes.
func (s Schedule) GatewayCount() int { return max(1, s.Gateways) }

// NotFor is why the schedule does not apply to an adapter; empty if it does.
func (s Schedule) NotFor(a gateway.Adapter) string {
	for _, f := range s.Needs {
		if reason := a.Without[f]; reason != "" {
			return reason
		}
		if f == gateway.ClientIDs && !a.Key.ClientChooses() {
			return "its clients do not choose their ids"
		}
	}
	if s.Cookie && !a.Key.InCookie() {
		return "its key is not in a cookie"
	}
	return ""
}

// Planned is a step with its time and its pod.
type Planned struct {
	At    time.Duration
	Do    Action
	Which int    // of gateways
	Pod   string // of pods
}

// PodName is the i-th pod's.
func PodName(i int) string { return "pod-" + strconv.Itoa(i) }

// Plan is when the steps are taken, and with which pods.
func (s Schedule) Plan(seed uint64, duration time.Duration) []Planned {
	random := rand.New(rand.NewPCG(seed, 1))
	order := random.Perm(Pods)
	var out []Planned
	for _, step := range s.Steps {
		const shake = 0.02 // steps keep their order
		at := step.At + shake*(random.Float64()-0.5)
		which := step.Which
		if which < Pods {
			which = order[which]
		}
		out = append(out, Planned{At: time.Duration(at * float64(duration)), Do: step.Do, Which: step.Which, Pod: PodName(which)})
	}
	return out
}
