// Command routectl is the operator's command line over the admin APIs of
// xds-server and of every extproc replica. It keeps nothing of its own: what it
// shows is what they answer, and an order is theirs to carry out.
//
//	routectl status
//	routectl pods drain chat chat-1 --wait --timeout 10m && kubectl delete pod chat-1
//	routectl sessions move chat room-17 chat-2
//	routectl check || page-someone
//
// Exit codes: 0 done, 1 failed or found something wrong, 2 wrong usage.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/stateful-route/stateful-route/internal/extensions"
)

func main() {
	known, err := extensions.All()
	if err != nil {
		fmt.Fprintln(os.Stderr, "routectl:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], Options{
		Stdout: os.Stdout, Stderr: os.Stderr, Stdin: os.Stdin, Interactive: isTerminal(os.Stdin), Extensions: known,
	})
	stop()
	os.Exit(code)
}

// isTerminal takes every character device for a terminal: one that is none, such as
// /dev/null, gives no answer.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
