// Command xds-server is the control plane: it gives Envoys their listeners,
// routes, clusters and weighted endpoints, and extprocs the session policies.
package main

import (
	"os"

	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/internal/cli"
)

func main() {
	strategies := balancing.NewRegistry() // one of your own joins with strategies.Register, in extproc and xds-server
	os.Exit(cli.Main("xds-server", os.Args[1:], os.Stdout, os.Stderr, program(strategies)))
}
