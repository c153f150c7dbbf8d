package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stateful-route/stateful-route/balancing"
)

// A strategy that is registered in main may be named in the configuration.
func TestAStrategyOfOnesOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "xds-server.yaml")
	text := "services: [{name: chat, balancing: {strategy: mine}, pods: {static: []}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	strategies := balancing.NewRegistry()
	if err := program(strategies).Check(file); err == nil {
		t.Error("an unknown strategy was accepted")
	}
	if err := strategies.Register("mine", func(balancing.Options) (balancing.Strategy, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if err := program(strategies).Check(file); err != nil {
		t.Error(err)
	}
}
