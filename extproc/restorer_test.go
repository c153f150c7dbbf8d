package extproc

import (
	"testing"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
)

// A file that has to be written anew before the services are known gets what waits, too.
func TestWhatWaitsIsInForce(t *testing.T) {
	table, err := affinity.New(affinity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	seen := time.Now().Add(-time.Minute)
	found := []statefulroute.Binding{
		{Service: "chat", Key: "a", Pod: "chat-0", Created: seen, LastSeen: seen, Requests: 2},
		{Service: "mail", Key: "b", Pod: "mail-0", Created: seen, LastSeen: seen, Requests: 2},
	}
	r := NewRestorer(table, func(service, key string) { t.Errorf("%s/%s is forgotten", service, key) }, found, zap.NewNop())
	for _, arrive := range []struct {
		name string
		some func()
	}{
		{"none", func() {}}, {"one", func() { r.SetIdleTimeout("chat", time.Hour) }}, {"all", r.Finish},
	} {
		arrive.some()
		keys := map[string]bool{}
		for b := range r.All() {
			keys[b.Key] = true
		}
		if !keys["a"] || !keys["b"] {
			t.Errorf("with %s of the services known: %v", arrive.name, keys)
		}
	}
	if n := table.Stats().Size; n != 2 {
		t.Errorf("%d bindings are restored in the end", n)
	}
}
