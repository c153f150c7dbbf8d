package shared

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// The defaults of Options.
const (
	DefaultLease       = 3 * time.Second
	DefaultCallTimeout = 150 * time.Millisecond
)

// JournalSteps has the store be told of a session's uses at most eight times in its idle
// timeout, see affinity.Options: the time for which it keeps a record has room for a quarter.
const JournalSteps = 8

// Options configure a Table. Store, Local and Replica are required.
type Options struct {
	// Store arbitrates.
	Store Store
	// Local is the replica's own table. It remembers no evicted sessions (see
	// affinity.Options.ForgetEvicted), for others may move them, its Journal is Uses, and it
	// has at least JournalSteps.
	Local Local
	// Uses gathers what Local tells of its sessions' uses. Required.
	Uses *Uses
	// Replica names the process; another one, though of the same machine, has another name.
	Replica string
	// Info is what the replica tells of itself. nil means nothing.
	Info func() Info
	// Serves reports whether a pod may be sent its sessions, as far as this replica knows. A
	// pod that this replica found lost is in service again when it says so. nil: none ever is.
	Serves func(service, pod string) bool
	// Lease is how long a replica answers what it knows without having heard of the store.
	// 0 means 3 s. It renews it three times as often.
	Lease time.Duration
	// CallTimeout bounds each call of the store that a request waits for; 0 means 150 ms.
	CallTimeout time.Duration
	// OnConflict is told of a session whose binding this replica gave up, for the store had
	// another one, or of which requests may have gone elsewhere while nobody could be asked. nil
	// means nobody listens.
	OnConflict func(service, key string)
	// OnLease is told until when the lease runs, by Monotonic, for those who answer in this
	// replica's stead: after it was prolonged, and before others are told that it has ended. It
	// is called by one goroutine at a time. nil means nobody does.
	OnLease func(until time.Duration)
	// Log receives when the lease is lost and regained, and what the store lost. nil means silence.
	Log *zap.Logger
	// Monotonic is a clock that nobody sets, for leases. nil means that of time.Now.
	Monotonic func() time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.Store == nil || o.Local == nil || o.Uses == nil || o.Replica == "" {
		return o, errors.New("shared: Options needs Store, Local, Uses and Replica")
	}
	if o.Lease == 0 {
		o.Lease = DefaultLease
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = DefaultCallTimeout
	}
	if o.Lease < 0 || o.CallTimeout < 0 {
		return o, errors.New("shared: negative Lease or CallTimeout")
	}
	if o.Info == nil {
		o.Info = func() Info { return Info{} }
	}
	if o.Serves == nil {
		o.Serves = func(string, string) bool { return false }
	}
	if o.OnConflict == nil {
		o.OnConflict = func(string, string) {}
	}
	if o.OnLease == nil {
		o.OnLease = func(time.Duration) {}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Monotonic == nil {
		began := time.Now()
		o.Monotonic = func() time.Duration { return time.Since(began) }
	}
	return o, nil
}

// margin is what clocks may differ by in their pace: a replica takes its lease for a tenth
// shorter, and whoever waits for its end for a tenth longer.
const margin = 10

func (o *Options) ownLease() time.Duration { return o.Lease - o.Lease/margin }

func (o *Options) othersLease() time.Duration { return o.Lease + o.Lease/margin }
