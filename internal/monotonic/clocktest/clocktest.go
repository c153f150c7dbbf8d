// Package clocktest makes the times that a process reads while its wall clock is set.
package clocktest

import (
	"fmt"
	"time"
	"unsafe"
)

// Set returns now as it would have been read had the wall clock been set forward by d,
// whole seconds, or back. Its monotonic reading, which now must have, stays.
//
// The standard library has no way to make such a time; this one checks itself.
func Set(now time.Time, d time.Duration) time.Time {
	out := now
	wall := (*uint64)(unsafe.Pointer(&out)) // a flag, 33 bits of seconds, 30 of nanoseconds
	*wall += uint64(int64(d/time.Second)) << 30
	if out.Sub(now) != 0 || out.Round(0).Sub(now.Round(0)) != d {
		panic(fmt.Sprintf("clocktest: %v set by %v became %v", now, d, out))
	}
	return out
}
