package admin

import (
	"net/http"
	"time"

	"github.com/stateful-route/stateful-route/adminhttp"
)

// Replicas is what /api/v1/replicas answers: the store that replicas share, and all of them
// as the one that is asked knows them.
type Replicas struct {
	Store    Store     `json:"store"`
	Replicas []Replica `json:"replicas"`
}

// The kinds of stores.
const (
	// StoreMemory is shared with nobody.
	StoreMemory = "memory"
	StoreValkey = "valkey"
)

// The states of a store, as a replica sees it.
const (
	StoreOpen        = "open"        // it takes changes
	StoreRecovering  = "recovering"  // it waits for what replicas put back
	StoreUnreachable = "unreachable" // it does not answer the replica, or does not know it
	StoreUnknown     = "unknown"     // of another replica, while the one that is asked does not reach it
)

// Store is the store as the replica that is asked sees it.
type Store struct {
	Kind  string `json:"kind"`
	State string `json:"state"`
	// Error says why it is unreachable.
	Error string `json:"error,omitempty"`
	// Incarnation is what the store is called until it may have lost something: replicas
	// that name the same one share their bindings.
	Incarnation string   `json:"incarnation,omitempty"`
	Addresses   []string `json:"addresses,omitempty"`
	// Lease is how long a replica answers without having heard of the store.
	Lease float64 `json:"lease_seconds,omitempty"`
	// Position is where the log of changes stood when it was read last, Age ago; nil where
	// it never was.
	Position uint64   `json:"position"`
	Age      *float64 `json:"age_seconds,omitempty"`
}

// Replica is one extproc.
type Replica struct {
	ID string `json:"id"`
	// Self is the one that is asked.
	Self bool `json:"self"`
	// Registered: changes of bindings wait for it.
	Registered bool      `json:"registered"`
	Address    string    `json:"address"` // for Envoy
	Admin      string    `json:"admin"`
	Version    string    `json:"version"`
	Started    time.Time `json:"started,omitzero"`
	// Store is the state of the store as this replica sees it.
	Store string `json:"store"`
	// LeaseLeft is how long it may answer what it knows without having heard of the store: of
	// another replica the most that can be. nil where that is not known, and with a store
	// that needs no leases.
	LeaseLeft *float64 `json:"lease_left_seconds"`
	// Age is how long ago it was seen to renew its lease; nil where it never was.
	Age *float64 `json:"age_seconds,omitempty"`
	// Bindings it had in its table, and Conflicts counts those that it gave up, for the
	// store had others: of another replica as of its last renewal.
	Bindings     int       `json:"bindings"`
	Conflicts    uint64    `json:"conflicts"`
	LastConflict time.Time `json:"last_conflict,omitzero"`
	// Position is up to where it has acted on the log of changes.
	Position uint64 `json:"position"`
}

func (a *admin) replicas(w http.ResponseWriter, _ *http.Request) {
	adminhttp.WriteJSON(w, http.StatusOK, a.Replicas())
}
