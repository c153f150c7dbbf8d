// Command xds-server is the control plane: it gives Envoys their listeners,
// routes, clusters and weighted endpoints, and extprocs the session policies.
package main

import (
	"context"
	"os"

	"github.com/stateful-route/stateful-route/internal/cli"
	"github.com/stateful-route/stateful-route/xds"
)

func main() { os.Exit(cli.Main("xds-server", os.Args[1:], os.Stdout, os.Stderr, program())) }

func program() cli.Program {
	return cli.Program{
		Check: func(file string) error { _, err := xds.Preview(context.Background(), file); return err },
		Run:   run,
	}
}
