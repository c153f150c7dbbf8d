package xds

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/stateful-route/stateful-route/wire"
)

// A push takes from the change to the acknowledgement: a stage that waited for
// another client counts what it waited. What a client finds when it connects is
// as old as its question, not as the change.
func TestAPushTakesFromTheChangeToTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := &observed{}
		c := newClients(seen, func(ClientStatus) {}, time.Second)
		key := streamKey{"delta", 1}
		change := time.Now()
		c.publishing(wire.Envoy, change)
		time.Sleep(time.Hour)
		c.open(key)
		answered := func(nonce string, sentAfter time.Duration) {
			time.Sleep(sentAfter)
			c.response(key, resourcev3.EndpointType, nonce, nonce)
			time.Sleep(20 * time.Millisecond)
			c.request(key, new(int), nil, resourcev3.EndpointType, nonce, nil)
		}
		c.request(key, new(int), &corev3.Node{Id: "a"}, resourcev3.EndpointType, "", nil)
		answered("1", 100*time.Millisecond)
		time.Sleep(time.Hour)
		change = time.Now()
		c.publishing(wire.Envoy, change)
		answered("2", 0)
		c.publishing(wire.Envoy, change)
		answered("3", 300*time.Millisecond)
		want := []time.Duration{120 * time.Millisecond, 20 * time.Millisecond, 340 * time.Millisecond}
		if !slices.Equal(seen.took, want) {
			t.Errorf("took %v, want %v", seen.took, want)
		}
	})
}
