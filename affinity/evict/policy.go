package evict

// Policy orders the entries of one shard and chooses what to drop. It is called
// with the shard's lock held, by one goroutine at a time, and must be quick.
type Policy interface {
	// Add takes note of a new entry.
	Add(e *Entry)
	// Used takes note of a use. The entry's facts are those before it.
	Used(e *Entry)
	// Victim chooses the entry to drop for a new one, and why; the shard then
	// removes it. It is only called with at least one entry in the shard.
	// statefulroute.ErrFull keeps them all and refuses the new one. Now is by the table's clock, as
	// is Entry.LastSeen.
	Victim(now int64) (e *Entry, why Reason, err error)
	// Remove forgets an entry that is about to leave the table.
	Remove(e *Entry)
}

// Renewer is a Policy that orders entries by when they were seen.
type Renewer interface {
	Policy
	// Renewed takes note that the session of an entry was seen, which is no further use:
	// a request of it, which was counted as a use when it began, goes on or has ended.
	Renewed(e *Entry)
	// Passed takes note that the entry that Victim chose is not dropped, because its
	// session has requests in flight, and that Victim is to choose again. It is no use
	// either. From a Policy that is no Renewer the entry is removed, and added anew.
	Passed(e *Entry)
}

// Learner is a Policy that wants to hear of its mistakes.
type Learner interface {
	Policy
	// Broke says that a session came back whose entry had been evicted, and
	// which mark the entry had.
	Broke(mark uint8)
}

// Strategy makes the policies of one table, one for each shard.
type Strategy interface {
	NewPolicy(room Room) Policy
}

// Adaptive is a Strategy that changes its way on what is measured.
type Adaptive interface {
	Strategy
	// Observe is given the rates since the last call. It returns the mode it is
	// in from now on, and why if that is another one than before.
	Observe(Rates) (mode, why string)
}
