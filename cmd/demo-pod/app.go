package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// stopTimeout bounds how long a stopping pod waits for requests in flight.
const stopTimeout = 5 * time.Second

// run serves until ctx ends, then finishes the requests in flight.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("demo-pod", flag.ContinueOnError)
	name := flags.String("name", "demo", "name the pod answers with")
	listen := flags.String("listen", "127.0.0.1:9101", "address to serve on")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "demo-pod: %s serves on %s\n", *name, l.Addr())
	return serve(ctx, l, newPod(*name).handler())
}

func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	// The time also runs for a connection that was opened and not used yet, as a
	// proxy's may be: closed too early, it is closed under the first request.
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	stopped := make(chan error, 1)
	detach := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		stopped <- srv.Shutdown(ctx)
	})
	err := srv.Serve(l)
	if detach() || !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}
