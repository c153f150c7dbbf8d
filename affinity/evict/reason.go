package evict

// Reason says why a live binding was evicted.
type Reason uint8

const (
	// ReasonCapacity is a session that came back before, dropped for a new one.
	ReasonCapacity Reason = iota
	// ReasonProbation is an id that was used only once, dropped for a new one.
	ReasonProbation
	// ReasonFlood is an id that was used only once and lately, dropped for another
	// such while far more of them come than usual.
	ReasonFlood
	// ReasonCollision is a key with the same 64-bit hash as a new one. It is the
	// table's own, as is the next one.
	ReasonCollision
	// ReasonSessions is an id that was used only once, given up as its pod may have no
	// more sessions.
	ReasonSessions
	// Reasons is how many there are.
	Reasons
)

// String returns the reason as a metric label value.
func (r Reason) String() string {
	return [...]string{"capacity", "probation", "flood", "collision", "max_sessions", "unknown"}[min(r, Reasons)]
}
