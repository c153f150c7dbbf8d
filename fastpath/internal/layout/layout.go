// Package layout has the places of everything in a fast-path table's file, and how words of
// it are read and written. It is described in package fastpath; the module in
// fastpath/module has the same numbers in layout.h.
package layout

import "time"

// The header: where what is.
const (
	Magic   = "strroute"
	Version = 2

	HeaderSize = 4096

	OffMagic           = 0
	OffVersion         = 8
	OffHeaderSize      = 12
	OffFileSize        = 16
	OffHashKey         = 24
	OffBucketCount     = 40
	OffBuckets         = 48
	OffPodCount        = 56
	OffPodSize         = 60
	OffPods            = 64
	OffServiceSlots    = 72
	OffServiceSlotSize = 76
	OffServices        = 80
	OffArena           = 88
	OffArenaSize       = 96
	OffCreated         = 104
	OffBoot            = 112
	OffState           = 128
	OffLeaseEnd        = 136
	OffFlags           = 144
	OffAddressSlots    = 148
	OffAddresses       = 152
	OffCounters        = 256
	OffReaders         = 2048
)

// The values of the word at OffState.
const (
	Building = 0
	Live     = 1
	Retired  = 2
)

// The bits of the word at OffFlags.
const (
	SampledCallsOut  = 1
	UntracedCallsOut = 2
)

// NoLease is the lease's end of a table that needs none.
const NoLease = ^uint64(0)

// Counters are kept in stripes, so that threads do not wait for each other.
const (
	Stripes    = 8
	StripeSize = 128
)

// The readers: processes that act on the table.
const (
	Readers    = 64
	ReaderSize = 32

	ReaderPID        = 0
	ReaderGeneration = 4
	ReaderHeartbeat  = 8
)

// A service's slot.
const (
	ServiceSlotSize = 64

	SlotHash    = 0
	SlotSeq     = 8
	SlotLen     = 12
	SlotOff     = 16
	SlotVersion = 24
)

// A bucket of bindings.
const (
	BucketSize    = 64
	BucketEntries = 3

	BucketSeq    = 0
	BucketHashes = 4 // 12 bytes each
	BucketPods   = 40
	BucketUses   = 52
)

// A pod's record.
const (
	PodSize = 4096

	PodSeq        = 0
	PodState      = 4
	PodIdle       = 8
	PodGeneration = 12
	PodAddressLen = 16 // and, in the upper half of the word, the length of its name
	PodAddress    = 20
	PodName       = 64
	PodInFlight   = 384
	PodRequests   = 640

	MaxAddress = 44
	MaxPodName = 256

	Methods     = 10
	Classes     = 7
	HistBuckets = 256

	PodDurationSum        = PodRequests + Methods*Classes*8
	PodResponseSum        = PodDurationSum + 8 // of the requests of sessions, as is their number; the histogram is of all
	PodAborted            = PodDurationSum + 16
	PodMisroutes          = PodDurationSum + 24
	PodResponses          = PodDurationSum + 32
	PodUnboundResponseSum = PodDurationSum + 40
	PodService            = PodDurationSum + 48
	PodDurationHist       = 1280
	PodResponseHist       = PodDurationHist + 4*HistBuckets
	PodUnboundRequests    = PodResponseHist + 4*HistBuckets // those without a session, as PodRequests the others

	// Serving is a bit of the word at PodState.
	Serving = 1
)

// UseUnit is what a last use is told in; 16 bits of the number of units are kept.
const UseUnit = 250 * time.Millisecond

// MaxKey is the longest session key that the module reads; longer ones take the callout.
const MaxKey = 256

// MaxPolicy is the longest policy that the module reads.
const MaxPolicy = 1 << 20

// Results are the names of what came of requests, in the order of their counters.
func Results() []string {
	return []string{"hit", "unkeyed", "unknown", "no_key", "policy", "keys", "pod", "busy", "lease", "traced", "idle", "again"}
}
