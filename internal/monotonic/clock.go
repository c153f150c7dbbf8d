// Package monotonic gives ages a clock that nobody can set. What a process compares are
// ages, and the wall clock jumps: when it is set by an hour, nothing has become an hour
// older. A [time.Time] of [time.Now] knows the time since the machine's start as well;
// a Clock keeps that as a number, as millions of times are kept, and turns the numbers
// into times that the wall clock, as it goes now, would show.
//
// It reads no clock itself: all times are given to it.
package monotonic

import (
	"sync/atomic"
	"time"
)

// Clock is ready to be used when it is zero. Its methods may be called concurrently.
type Clock struct {
	base atomic.Pointer[base]
}

// base is one moment by the clocks.
type base struct {
	at    time.Time
	wall  int64 // at, in Unix nanoseconds
	nanos int64 // at, by the Clock
}

// tolerance is how far the wall clock may drift from the other one before it is
// followed: the two are not read at the same instant.
const tolerance = int64(time.Millisecond)

// Nanos returns now as nanoseconds that go on evenly however the wall clock is set.
// They are Unix time as the wall clock had it at the first call. A time without a
// monotonic reading, as tests and files have them, is what it says.
func (c *Clock) Nanos(now time.Time) int64 {
	b := c.base.Load()
	if b == nil {
		b = c.start(now)
	}
	since := int64(now.Sub(b.at))
	wall := now.UnixNano()
	if off := wall - b.wall - since; off > tolerance || off < -tolerance {
		// The wall clock was set. Whoever is first tells the others.
		c.base.CompareAndSwap(b, &base{at: now, wall: wall, nanos: b.nanos + since})
	}
	return b.nanos + since
}

func (c *Clock) start(now time.Time) *base {
	wall := now.UnixNano()
	c.base.CompareAndSwap(nil, &base{at: now, wall: wall, nanos: wall})
	return c.base.Load()
}

// Wall is Time without a monotonic reading, for what is only shown: it costs less.
func (c *Clock) Wall(nanos int64) time.Time {
	if b := c.base.Load(); b != nil {
		nanos += b.wall - b.nanos
	}
	return time.Unix(0, nanos)
}

// Time is the inverse of Nanos: the time that the wall clock would have shown, had it
// always gone as it did at the last call of Nanos. Before the first one it is that of
// Unix nanoseconds.
func (c *Clock) Time(nanos int64) time.Time {
	b := c.base.Load()
	if b == nil {
		return time.Unix(0, nanos)
	}
	return b.at.Add(time.Duration(nanos - b.nanos))
}
