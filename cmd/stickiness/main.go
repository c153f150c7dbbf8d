// Command stickiness plays schedules of faults against gateways and says whether
// sessions stayed on their pods. Its README.md is beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/stateful-route/stateful-route/stickiness/adapters"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/reference"
)

// The exit codes.
const (
	kept      = 0
	notKept   = 1 // a session was silently served wrong
	badUsage  = 2
	notPlayed = 3 // a run could not be played
)

func main() {
	pod.RunIfChild()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, all())
	stop()
	os.Exit(code)
}

// all are the gateways that can be named; the reference is played only when it is.
func all() []gateway.Adapter {
	return append(adapters.All(), reference.Adapter(reference.Spoil{}))
}

func run(ctx context.Context, args []string, out, errs io.Writer, known []gateway.Adapter) int {
	o, err := parse(args, errs, known)
	if errors.Is(err, flag.ErrHelp) {
		return kept
	}
	if err != nil {
		fmt.Fprintln(errs, "stickiness:", err)
		return badUsage
	}
	if o.list {
		list(ctx, out, known)
		return kept
	}
	code, err := playRuns(ctx, o, out)
	if err != nil {
		fmt.Fprintln(errs, "stickiness:", err)
		return notPlayed
	}
	return code
}
