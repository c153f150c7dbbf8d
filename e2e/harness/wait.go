package harness

import (
	"testing"
	"time"
)

// Patience bounds every wait of the harness.
const Patience = time.Minute

// pollInterval is the pause between two looks at something awaited.
const pollInterval = 20 * time.Millisecond

// Eventually calls check until it returns nil, and fails the test with its last
// error when it does not within the time. It returns how long that took.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := check()
		took := time.Since(start)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
		<-tick.C
	}
}
