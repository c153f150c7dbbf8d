package client

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/history"
)

// TestEventsThatWaitedAreNotSentLater has two events of long ago read at once: what was
// answered between them and now, was not answered before they were sent.
func TestEventsThatWaitedAreNotSentLater(t *testing.T) {
	p := &player{Config: Config{Every: time.Second, Began: time.Now().Add(-time.Hour)}}
	s := &session{player: p, cookies: map[string]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the stream's end is no record then
	asked := time.Minute
	s.listen(ctx, &held{last: asked}, strings.NewReader("data: {}\n\ndata: {}\n\n"), history.Record{Session: "a", Nonce: "a/1", Sent: asked})
	if len(p.records) != 2 {
		t.Fatalf("got %d records", len(p.records))
	}
	for n, r := range p.records {
		if want := asked + time.Duration(n)*p.Every; r.Sent != want || r.Received < time.Hour {
			t.Errorf("event %d: sent %s, received %s; want it sent at %s and received now", n, r.Sent, r.Received, want)
		}
	}
}
