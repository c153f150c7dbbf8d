package livepage

import (
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/load"
	"github.com/stateful-route/stateful-route/xds/state"
)

// State is all that the page shows of one moment, beside the charts.
type State struct {
	Time    time.Time `json:"time"`
	Process Process   `json:"process"`
	// Summary is the analyzer's sentence on the whole.
	Summary     string                `json:"summary"`
	Services    []Service             `json:"services"`
	Clients     []Client              `json:"clients"`
	Extprocs    []Extproc             `json:"extprocs"`
	Issues      []analysis.Issue      `json:"issues"`
	Suggestions []analysis.Suggestion `json:"suggestions"`
}

// Process is what there is to say of the server itself.
type Process struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Ready   bool      `json:"ready"`
	// ConfigError says why the newest configuration is not in force; empty when
	// it is.
	ConfigError string `json:"config_error,omitempty"`
	// Degraded says what works less than it should, such as orders that cannot be
	// written.
	Degraded []string `json:"degraded"`
}

// Service is a service with its pods.
type Service struct {
	Name          string   `json:"name"`
	Hosts         []string `json:"hosts"`
	Prefix        string   `json:"prefix"`
	Strategy      string   `json:"strategy"`
	OnPodLoss     string   `json:"on_pod_loss"`
	OnExtprocLoss string   `json:"on_extproc_loss"`
	// Source says what is the matter with where its pods come from; empty while
	// nothing is.
	Source string          `json:"source,omitempty"`
	Pods   []xds.PodReport `json:"pods"`
}

// Client is one connected xDS client, an Envoy or an extproc.
type Client struct {
	Node     string `json:"node"`
	Kind     string `json:"client"`   // envoy or extproc
	Protocol string `json:"protocol"` // delta or sotw
	// Connected is how long the stream has existed.
	Connected float64 `json:"connected_seconds"`
	// Path is the way of an Envoy's requests, PathReason why it is not the one that it
	// asked for; as in the admin API.
	Path       string `json:"path,omitempty"`
	PathReason string `json:"path_reason,omitempty"`
	Types      []Sync `json:"types"`
}

// Extproc is what an extproc reports of itself.
type Extproc struct {
	Node     string `json:"node"`
	Bindings int    `json:"bindings"`
	Capacity int    `json:"capacity"`
	Memory   uint64 `json:"memory_bytes"`
	// Store is how the store looks to it that it shares bindings by: open, recovering or
	// unreachable; empty where it shares with nobody.
	Store string `json:"store"`
	// LeaseLeft is how long it may answer without having heard of the store.
	LeaseLeft float64 `json:"lease_left_seconds"`
	Conflicts uint64  `json:"conflicts"`
}

// Extprocs are those that report.
func Extprocs(replicas []load.Replica) []Extproc {
	out := make([]Extproc, len(replicas))
	for i, r := range replicas {
		out[i] = Extproc{
			Node: r.Node, Bindings: r.Size, Capacity: r.Capacity, Memory: r.Memory,
			Store: r.Store.State, LeaseLeft: r.Store.Lease.Seconds(), Conflicts: r.Store.Conflicts,
		}
	}
	return out
}

// Sync is how far a client is with one resource type.
type Sync struct {
	Type    string `json:"type"` // lds, rds, cds, eds
	Version string `json:"version"`
	Status  string `json:"status"` // as in the admin API: ack, nack, pending, …
	Reason  string `json:"reason,omitempty"`
	// Age is how long the status has been so, in seconds.
	Age float64 `json:"age_seconds"`
}

// NewService returns a service as the page shows it. Source is what is the matter
// with where its pods come from, empty while nothing is.
func NewService(svc *state.ServiceView, pods []xds.PodReport, source string) Service {
	return Service{
		Name: svc.Name, Hosts: svc.Hosts, Prefix: svc.Prefix, Strategy: svc.Balancing.Strategy,
		OnPodLoss: string(svc.Session.OnPodLoss), OnExtprocLoss: string(svc.Session.OnExtprocLoss),
		Source: source, Pods: pods,
	}
}

// Clients makes one client of the rows of one stream, which follow each
// other only by type.
func Clients(rows []xds.ClientStatus) []Client {
	type stream struct {
		kind, node, protocol string
		connected            float64 // of one moment: the same in all rows of a stream
	}
	var clients []Client
	index := map[stream]int{}
	for _, row := range rows {
		id := stream{row.Client, row.Node, row.Protocol, row.Connected}
		i, ok := index[id]
		if !ok {
			i = len(clients)
			index[id] = i
			clients = append(clients, Client{
				Node: row.Node, Kind: row.Client, Protocol: row.Protocol, Connected: row.Connected,
				Path: row.Path, PathReason: row.PathReason,
			})
		}
		clients[i].Types = append(clients[i].Types, Sync{
			Type: row.Type, Version: row.Version, Status: row.Status, Reason: row.Reason, Age: row.Age,
		})
	}
	return clients
}

// withEmptyLists returns the state with empty lists where it has none, as the page
// expects them.
func (s State) withEmptyLists() State {
	services := make([]Service, len(s.Services))
	for i, svc := range s.Services {
		svc.Hosts, svc.Pods = list(svc.Hosts), list(svc.Pods)
		services[i] = svc
	}
	clients := make([]Client, len(s.Clients))
	for i, c := range s.Clients {
		c.Types = list(c.Types)
		clients[i] = c
	}
	s.Services, s.Clients = services, clients
	s.Process.Degraded = list(s.Process.Degraded)
	s.Issues, s.Suggestions, s.Extprocs = list(s.Issues), list(s.Suggestions), list(s.Extprocs)
	return s
}

func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// withoutAges returns the state without what differs from moment to moment though
// nothing happened.
func (s State) withoutAges() State {
	s.Time = time.Time{}
	clients := make([]Client, len(s.Clients))
	for i, c := range s.Clients {
		c.Connected = 0
		types := make([]Sync, len(c.Types))
		for j, t := range c.Types {
			t.Age = 0
			types[j] = t
		}
		c.Types = types
		clients[i] = c
	}
	s.Clients = clients
	s.Extprocs = slices.Clone(s.Extprocs)
	for i := range s.Extprocs {
		s.Extprocs[i].Memory = 0
		if s.Extprocs[i].LeaseLeft > 0 { // that one ends is no age
			s.Extprocs[i].LeaseLeft = 1
		}
	}
	return s
}
