package grpclimit

import (
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/rawgrpc"
)

// Who pings more often than MinPing is cut after a few; who keeps to it never.
func TestPings(t *testing.T) {
	for name, minPing := range map[string]time.Duration{"often": 0, "allowed": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			c := rawgrpc.Dial(t, "tcp", serve(t, Options{Connections: 2, Streams: 2, MinPing: minPing}).address)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			answered := 0
			for answered < 20 && c.Ping() {
				answered++
				<-tick.C
			}
			if kept := answered == 20; kept != (minPing > 0) {
				t.Errorf("after %d pings the connection is open: %v", answered, kept)
			}
		})
	}
}

// BenchmarkPing is what a ping costs, its client included.
func BenchmarkPing(b *testing.B) {
	c := rawgrpc.Dial(b, "tcp", serve(b, Options{Connections: 2, Streams: 2, MinPing: 1}).address)
	for b.Loop() {
		if !c.Ping() {
			b.Fatal("the server has ended the connection")
		}
	}
}
