package envoyproc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
)

// Program is the Envoy that is installed.
var Program = fleet.Program{Name: "envoy", Env: "ENVOY"}

// baseID is the file in which Envoy says by which memory its generations find each other.
const baseID = "base-id"

// Start starts the first generation of a node's Envoy by a file of the node's.
func Start(n *fleet.Node, envoy fleet.Program, configuration string) error {
	if err := Forget(n); err != nil { // of one that was killed
		return err
	}
	return run(n, envoy, configuration, "--use-dynamic-base-id", "--base-id-path", n.Path(baseID))
}

// HotRestart starts the next generation, which takes over the listeners from the one before
// and has it end, and returns when that is done.
func HotRestart(ctx context.Context, n *fleet.Node, envoy fleet.Program, configuration, admin string) error {
	id, err := os.ReadFile(n.Path(baseID))
	if err != nil {
		return err
	}
	now, err := Generation(ctx, admin)
	if err != nil {
		return err
	}
	next := now + 1
	if err := run(n, envoy, configuration, "--base-id", strings.TrimSpace(string(id)), "--restart-epoch", strconv.Itoa(next)); err != nil {
		return err
	}
	return n.Until(ctx, func(ctx context.Context) error {
		now, err := Generation(ctx, admin)
		if err == nil && now != next {
			err = fmt.Errorf("generation %d answers", now)
		}
		return err
	})
}

func run(n *fleet.Node, envoy fleet.Program, configuration string, more ...string) error {
	path, err := envoy.Path()
	if err != nil {
		return err
	}
	_, err = n.Run("envoy", path, append([]string{"--config-path", n.Path(configuration), "--log-level", "warning", "--concurrency", "2"}, more...)...)
	return err
}

// Forget removes what Envoys leave in the memory that they share.
func Forget(n *fleet.Node) error {
	id, err := os.ReadFile(n.Path(baseID))
	if err != nil {
		return nil //nolint:nilerr // it was not started
	}
	left, err := filepath.Glob("/dev/shm/envoy_shared_memory_" + strings.TrimSpace(string(id)) + "*")
	if err != nil {
		return err
	}
	for _, file := range append(left, n.Path(baseID)) {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}
