// Command xds-server is the control plane: it gives Envoys their listeners,
// routes, clusters and weighted endpoints, and extprocs the session policies.
package main

import (
	"os"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/cli"
)

func main() {
	os.Exit(cli.Main("xds-server", os.Args[1:], os.Stdout, os.Stderr, cli.Program{
		Check: func(file string) error { _, err := config.LoadXDSServer(file); return err },
		Run:   run,
	}))
}
