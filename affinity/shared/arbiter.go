package shared

import (
	"context"
	"errors"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Arbiter is the store as one incarnation of it: it serialises the changes of every
// session's record and of the register of replicas. Its errors are those below, that of the
// context, and others, which say that nobody knows what became of the call.
type Arbiter interface {
	// Incarnation is what the store is called until it may have lost something.
	Incarnation() string
	// Join registers a replica that has acted on the log up to a position as it was in the
	// given incarnation; fresh is one that knows nothing. Behind: it has to act on what comes
	// after the position that is returned, and try again.
	Join(ctx context.Context, position uint64, of string, fresh bool, info Info) (Joined, error)
	// Renew prolongs the registration.
	Renew(ctx context.Context, info Info) (Register, error)
	// Acted says that the replica acts on nothing older than a position in the log.
	Acted(ctx context.Context, position uint64) error
	// Ready says that the replica has put back what it holds and, where waited, that every
	// lease of an earlier incarnation has run out. New epochs are above highest. It reports
	// whether changes are taken.
	Ready(ctx context.Context, waited bool, highest uint64) (open bool, err error)
	// Leave takes a replica off the register, unless it has renewed its registration since
	// beats were seen; 0 means in any case.
	Leave(ctx context.Context, replica string, beats uint64) error
	// Log returns what was appended after a position, and waits a while for something.
	Log(ctx context.Context, after uint64, wait time.Duration) ([]Entry, error)

	// Claim binds a session to a pod if it has no binding, and the pod has less than so many
	// sessions, where that is not 0. An empty pod only asks.
	Claim(ctx context.Context, service, key, pod string, most uint32, ttl time.Duration) (Reply, error)
	// Rebind gives a session of a fenced pod another one, which has less than so many, too.
	Rebind(ctx context.Context, old statefulroute.Binding, to string, most uint32, ttl time.Duration) (Reply, error)
	// Change begins to move sessions, or to forget them where to is empty. One whose epoch
	// is another than the given one, which is not 0, stays.
	Change(ctx context.Context, service string, keys []string, epoch uint64, to string, ttl time.Duration) ([]Reply, error)
	// Finish ends changes that were begun with an entry of the log.
	Finish(ctx context.Context, service string, keys []string, entry uint64) ([]Reply, error)
	// Fence says that a pod is lost, Unfence that it is not, or, where empty, only if it has
	// no session left. Unfence reports whether nobody holds it for lost any more.
	Fence(ctx context.Context, service, pod string) (Reply, error)
	Unfence(ctx context.Context, service, pod string, empty bool) (bool, error)
	// Refresh writes uses of sessions, as they were when the replica had acted on the log up to
	// a position.
	Refresh(ctx context.Context, position uint64, uses []Use) ([]Reply, error)

	// Peek shows a session, List some of a pod's from a cursor on. Pods are those that may
	// have sessions, and Count says how many each has, as of a second ago at most.
	Peek(ctx context.Context, service, key string) (Reply, error)
	List(ctx context.Context, service, pod, cursor string, limit int) (page []statefulroute.Binding, next string, err error)
	Pods(ctx context.Context) ([]PodName, error)
	Count(ctx context.Context) ([]Count, error)
}

// Store finds the arbiter.
type Store interface {
	// Attach returns the store's present incarnation; it begins one where the server is not
	// the one that the last was begun at, or where that is the one to be left.
	Attach(ctx context.Context, leave string) (Arbiter, error)
	// Close ends the connections.
	Close()
}

// What keeps an arbiter from answering.
var (
	// ErrLost: the server is not the incarnation's, or has lost it.
	ErrLost = errors.New("the store may have lost what it had acknowledged")
	// ErrUnregistered: the replica is not registered any more.
	ErrUnregistered = errors.New("the store does not know this replica any more")
	// ErrRecovering: the store takes no changes yet.
	ErrRecovering = errors.New("the store waits for what replicas put back")
)

// Code is what an arbiter answers.
type Code string

// The codes.
const (
	Bound    Code = "bound"    // the binding is in force
	Claimed  Code = "claimed"  // it was made by this call
	Rebound  Code = "rebound"  // it was changed by this call
	None     Code = "none"     // there is none
	Changing Code = "changing" // a change was begun, and not all replicas have acted on it
	Begun    Code = "begun"    // this call began it
	Fenced   Code = "fenced"   // the binding is to a pod that is lost
	Fencing  Code = "fencing"  // the same, and not all replicas have acted on that
	Choice   Code = "choice"   // the pod that was asked for is lost, or has as many sessions as it may
	Conflict Code = "conflict" // the binding is another one
	Won      Code = "won"      // it was, and had to yield
	Behind   Code = "behind"   // it is not put back: what the log has after the position may have ended it
)

// Reply is what a call says of a session.
type Reply struct {
	Code Code
	// Position is where the log stood.
	Position uint64
	// Binding is the one in force, without InFlight.
	Binding statefulroute.Binding
	// Entry is that of the log which all replicas have to act on first.
	Entry uint64
}

// Kind is a kind of entry in the log.
type Kind string

// The kinds.
const (
	// Revoke tells replicas to forget sessions.
	Revoke Kind = "revoke"
	// Fence tells them to forget those of a pod, and Unfence that it is in service again.
	Fence   Kind = "fence"
	Unfence Kind = "unfence"
)

// Entry is one of the log.
type Entry struct {
	Position uint64
	Kind     Kind
	Service  string
	Pod      string   // of Fence and Unfence
	Keys     []string // of Revoke
	Keep     string   // the replica that a Revoke does not mean
}

// Joined is the answer to a replica that joins.
type Joined struct {
	// Behind: it has not joined, for it has not acted on what the log has after Position,
	// which is of this incarnation.
	Behind   bool
	Position uint64
	// Open: changes are taken.
	Open bool
	// Fenced are the pods that are lost, Votes those of them that this replica found lost.
	Fenced, Votes []PodName
}

// PodName is a pod of a service.
type PodName struct{ Service, Pod string }

// Info is what a replica tells of itself, for people to see.
type Info struct {
	Address string    `json:"address"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Held    int       `json:"held"` // bindings in its table
	// Admin is where it shows more.
	Admin string `json:"admin"`
	// Conflicts is Table.Conflicts, LastConflict when the last one was found.
	Conflicts    uint64    `json:"conflicts"`
	LastConflict time.Time `json:"last_conflict,omitzero"`
}

// Register is who is registered.
type Register struct {
	Position uint64
	Open     bool
	Members  []Member
	// Votes are the lost pods that this replica found lost.
	Votes []PodName
}

// Member is a registered replica.
type Member struct {
	ID       string
	Beats    uint64 // how often it renewed
	Position uint64 // up to where it has acted on the log
	Info     Info
}

// Use is a binding as its replica saw it last.
type Use struct {
	Binding statefulroute.Binding
	TTL     time.Duration
	// PutBack: the store is to take it if it has none.
	PutBack bool
	// Unasked: the replica had no lease when it sent the session there.
	Unasked bool
}

// Count is how many sessions a pod has.
type Count struct {
	PodName
	Sessions int
}
