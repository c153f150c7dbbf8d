package analysis

import (
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Sample is what was observed in the time since the sample before it.
type Sample struct {
	// Services are the services by name.
	Services map[string]ServiceSample
	// Processes are our own processes by name, such as "xds-server" or
	// "extproc/replica-1".
	Processes map[string]ProcessSample
	// Table is the state of the session tables, all replicas together.
	Table TableSample
}

// ServiceSample is one service's part of a Sample.
type ServiceSample struct {
	// Hits and Misses count look-ups of a session's binding.
	Hits, Misses uint64
	// Pods are all pods of the service by name, the idle ones too: a pod that is
	// absent is a pod that is gone.
	Pods map[string]PodSample
}

// Total is what the pods did together.
func (s ServiceSample) Total() (sum PodSample) {
	for _, p := range s.Pods {
		sum.Requests += p.Requests
		sum.Errors += p.Errors
		sum.ResponseTimes.Merge(p.ResponseTimes)
		sum.InFlight += p.InFlight
		sum.Sessions += p.Sessions
	}
	return sum
}

// PodSample is one pod's part of a Sample.
type PodSample struct {
	// Requests and Errors count what ended; an error is a request too.
	Requests, Errors uint64
	// ResponseTimes holds those response times that were measured, which may be
	// fewer than Requests.
	ResponseTimes Durations
	// InFlight, Sessions and State are the values at the end of the time.
	InFlight, Sessions int64
	State              statefulroute.PodState
	// Flaps is how many times within the last minute the pod began to fail its
	// health checks.
	Flaps int
}

// ProcessSample is what one process uses of what it may use.
type ProcessSample struct {
	// Memory and MemoryLimit are bytes; a limit of 0 is not known.
	Memory, MemoryLimit uint64
	// CPU is the average number of cores used since the sample before, CPULimit
	// the number that may be used; a limit of 0 is not known.
	CPU, CPULimit float64
}

// ReplicaSample is what one extproc says of itself.
type ReplicaSample struct {
	ProcessSample
	// Size and Capacity are the bindings that its table holds and may hold.
	Size, Capacity int
	// Evictions counts bindings given up for lack of room: the process's own count
	// since its start, or what was reported since the sample before.
	Evictions uint64
	// Unwritten says that it cannot write its bindings to its file.
	Unwritten bool
	// Store is how the store looks to it that it shares bindings by.
	Store StoreSample
}

// StoreSample is what an extproc says of the store that it shares bindings by.
type StoreSample struct {
	// State is open, recovering or unreachable; empty where it shares with nobody.
	State string
	// Lease is how long it may answer without having heard of the store.
	Lease time.Duration
	// Conflicts counts bindings that it gave up since its start, for the store had others.
	Conflicts uint64
}

// TableSample is the state of the session table.
type TableSample struct {
	// Size and Capacity are bindings, those of all replicas together.
	Size, Capacity int
	// Replicas is the number of processes with a table; 0 means one.
	Replicas int
	// Evictions counts bindings given up for lack of room since the sample before.
	Evictions uint64
}

// Scope says what a figure or an issue is about: a pod of a service, a service
// (Pod is empty), or one of our own processes (only Process is set).
type Scope struct {
	Service string `json:"service"`
	Pod     string `json:"pod"`
	Process string `json:"process,omitempty"`
}

// point is one sample of one scope.
type point struct {
	at   time.Time
	span time.Duration // since the point before

	requests, errors   uint64
	hits, misses       uint64
	evictions          uint64 // of the whole table, in a service's point
	times              Durations
	inFlight, sessions int64
	state              statefulroute.PodState // of a pod
	flaps              int32                  // of a pod
	grown              int64                  // sessions, less those of the point before
	usage              ProcessSample
}

func (p *point) add(pod PodSample) {
	p.requests += pod.Requests
	p.errors += min(pod.Errors, pod.Requests)
	p.times.Merge(pod.ResponseTimes)
	p.inFlight += pod.InFlight
	p.sessions += pod.Sessions
}
