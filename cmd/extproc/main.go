// Command extproc is the external processor that binds sessions to pods. Envoy
// asks it about each request; services and pods come from xds-server.
//
//	extproc --config envoy/extproc.yaml
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
