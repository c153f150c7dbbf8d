// Command xds-server is the control plane: it gives Envoys their listeners,
// routes, clusters and weighted endpoints, and extprocs the session policies.
package main

import (
	"fmt"
	"os"

	"github.com/stateful-route/stateful-route/internal/cli"
	"github.com/stateful-route/stateful-route/internal/extensions"
)

func main() {
	known, err := extensions.All()
	if err != nil {
		fmt.Fprintln(os.Stderr, "xds-server:", err)
		os.Exit(1)
	}
	os.Exit(cli.Main("xds-server", os.Args[1:], os.Stdout, os.Stderr, program(known)))
}
