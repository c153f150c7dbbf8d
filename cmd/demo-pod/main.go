// Command demo-pod is a backend that loses something when its session goes
// elsewhere: it counts each session's visits in its own memory, and nowhere else.
//
//	$ demo-pod --name chat-0 --listen 127.0.0.1:9101 &
//	$ curl -H 'x-session-id: alice' 127.0.0.1:9101/
//	{"pod":"chat-0","session":"alice","visits":1}
//
// It can be made slow or failing while it runs, to see what the router does:
//
//	$ curl -d '{"delay":"200ms","fail":0.5,"healthz":"fail"}' 127.0.0.1:9101/control
//
// `/login` and `/mcp` create sessions of their own (a JSESSIONID cookie and an
// mcp-session-id header), as applications do whose ids a router has to learn.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo-pod:", err)
		os.Exit(1)
	}
}
