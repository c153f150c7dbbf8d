// Command run is behind `make run`: it starts three demo pods, xds-server,
// extproc and a real Envoy on this machine, waits until a request was served
// through them, says what to try, and stops them all on Ctrl-C.
//
// With --replicas=2 two extprocs share their sessions by a store, a valkey-server or
// redis-server that is started with them.
//
// Every address is taken from the two configuration files, so that what runs is
// what they say; Envoy's bootstrap is rendered to fit. If one of the processes
// ends by itself the others are stopped and its last lines are shown:
//
//	$ go build -o bin ./cmd/... && bin/run
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/stateful-route/stateful-route/internal/extensions"
)

func main() {
	known, err := extensions.All()
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends at once; the kernel then ends the children.
	context.AfterFunc(ctx, stop)
	err = run(ctx, os.Args[1:], os.Stdout, known)
	stop()
	if err != nil {
		// Several things can be wrong at once, one a line.
		for line := range strings.Lines(err.Error()) {
			if !strings.HasPrefix(line, " ") {
				line = "run: " + line
			}
			fmt.Fprintln(os.Stderr, strings.TrimRight(line, "\n"))
		}
		os.Exit(1)
	}
}
