package shared

import (
	"cmp"
	"slices"
	"time"
)

// State is how the store looks to a replica.
type State string

// The states.
const (
	// StateOpen: the store takes changes.
	StateOpen State = "open"
	// StateRecovering: it takes none until all replicas have put back what they hold.
	StateRecovering State = "recovering"
	// StateUnreachable: it does not answer the replica, or does not know it.
	StateUnreachable State = "unreachable"
	// StateUnknown is that of another replica while this one does not reach the store.
	StateUnknown State = "unknown"
)

// View is what a replica knows of the store and of all replicas.
type View struct {
	State State
	// Reason says why the store is unreachable.
	Reason string
	// Incarnation is what the store is called until it may have lost something; empty until
	// it answered for the first time.
	Incarnation string
	// Lease is how long a replica answers without having heard of the store.
	Lease time.Duration
	// Position is where the log stood, and Age how long ago that and the register were read;
	// negative before the first time.
	Position uint64
	Age      time.Duration
	// Replicas are those registered, and this one whether or not it is, by id.
	Replicas []ReplicaView
}

// ReplicaView is a replica as another one, or itself, sees it.
type ReplicaView struct {
	Member
	// Self is the replica that was asked.
	Self bool
	// Registered: changes wait for it to act on them.
	Registered bool
	State      State
	// Left is how long it may still answer from its table. Of another replica it is the
	// most that can be, as far as this one has seen it renew; it means nothing where State is
	// StateUnknown.
	Left time.Duration
	// Age is how long ago it was seen to renew its registration.
	Age time.Duration
}

// roll is the register, and since when the present renewals of others are known.
type roll struct {
	Register
	read   time.Duration // by the monotonic clock
	others map[string]heartbeats
}

// reach says whether the store answers.
type reach struct {
	state  State
	reason string
}

// reached notes that the store answers.
func (m *member) reached() {
	state := StateRecovering
	if m.open.Load() {
		state = StateOpen
	}
	if r := m.reach.Load(); r == nil || r.state != state {
		m.reach.Store(&reach{state: state})
	}
}

// unreached notes that it does not.
func (m *member) unreached(err error) { m.reach.Store(&reach{StateUnreachable, err.Error()}) }

func (t *Table) reachable() reach {
	if r := t.reach.Load(); r != nil {
		return *r
	}
	return reach{state: StateUnreachable}
}

// State is how the store looks to this replica.
func (t *Table) State() State { return t.reachable().state }

// View returns what this replica knows at the moment, without asking.
func (t *Table) View() View {
	store := t.reachable()
	v := View{State: store.state, Reason: store.reason, Lease: t.opts.Lease, Age: -1}
	if at := t.now.Load(); at != nil {
		v.Incarnation = at.arbiter.Incarnation()
	}
	self := ReplicaView{Member: Member{ID: t.opts.Replica}, Self: true}
	now := t.opts.Monotonic()
	if r := t.roll.Load(); r != nil {
		v.Position, v.Age = r.Position, now-r.read
		for _, m := range r.Members {
			if m.ID == t.opts.Replica {
				self.Member, self.Age = m, v.Age
				self.Registered = v.State != StateUnreachable
				continue
			}
			v.Replicas = append(v.Replicas, t.other(m, r, v.State, now))
		}
	}
	self.Info, self.State, self.Left = t.info(), v.State, max(t.Left(), 0)
	v.Replicas = append(v.Replicas, self)
	slices.SortFunc(v.Replicas, func(a, b ReplicaView) int { return cmp.Compare(a.ID, b.ID) })
	return v
}

// other is another replica as its renewals show it to one to whom the store looks so.
func (t *Table) other(m Member, r *roll, store State, now time.Duration) ReplicaView {
	since := r.read
	if h, ok := r.others[m.ID]; ok {
		since = h.since
	}
	out := ReplicaView{Member: m, Registered: true, State: store, Age: now - since}
	out.Left = max(t.opts.ownLease()-out.Age, 0)
	switch {
	case store == StateUnreachable:
		out.State = StateUnknown
	case out.Left == 0:
		out.State = StateUnreachable
	}
	return out
}

// info is what this replica tells of itself.
func (t *Table) info() Info {
	i := t.opts.Info()
	i.Conflicts = t.conflicts.Load()
	if at := t.lastConflict.Load(); at != nil {
		i.LastConflict = *at
	}
	return i
}
