package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/affinity/evict"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/internal/extensions"
)

// What a build registers may be named in what routectl reads, and its traits shape
// what Envoy would get.
func TestStrategiesOfOnesOwn(t *testing.T) {
	known := extensions.Set{Balancing: balancing.NewRegistry(), Eviction: evict.NewRegistry()}
	build := func(balancing.Options) (balancing.Strategy, error) { return nil, nil }
	for name, traits := range map[string]balancing.Traits{"busy_last": {}, "one_by_one": {FixedWeights: true}} {
		if err := known.Balancing.Register(name, build, traits); err != nil {
			t.Fatal(err)
		}
	}
	if err := known.Eviction.Register("largest", func() evict.Strategy { return nil }); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	for _, c := range []struct {
		name, text            string
		renders, leastRequest bool
	}{
		{"busy_last", "services: [{name: chat, balancing: {strategy: busy_last}, pods: {static: []}}]\n", true, true},
		{"one_by_one", "services: [{name: chat, balancing: {strategy: one_by_one}, pods: {static: []}}]\n", true, false},
		{"largest", "affinity: {strategy: largest}\n", false, false},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := offline("validate", file); code != 1 || !strings.Contains(stderr, c.name) {
			t.Errorf("%s, not registered: %v", c.name, errorOf(code, "", stderr))
		}
		if code, stdout, stderr := offlineWith(known, "validate", file); code != 0 {
			t.Errorf("%s: %v", c.name, errorOf(code, stdout, stderr))
		}
		if !c.renders {
			continue
		}
		code, stdout, stderr := offlineWith(known, "render", "xds", file)
		var got rendered
		parse(t, stdout, &got)
		if code != 0 || strings.Contains(string(got.Clusters["chat"]), "LEAST_REQUEST") != c.leastRequest {
			t.Errorf("%s: %s%s", c.name, got.Clusters["chat"], stderr)
		}
	}
}
