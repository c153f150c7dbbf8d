package xdsclient

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is the pause before a lost stream is opened again: doubled with every
// failure in a row, jittered so that replicas do not come back in step.
type backoff struct {
	min, max time.Duration
	next     time.Duration
}

// reset is for a stream that was of use.
func (b *backoff) reset() { b.next = b.min }

// pause returns how long to wait now.
func (b *backoff) pause() time.Duration {
	b.next = max(b.next, b.min)
	d := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, b.max)
	return d
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
