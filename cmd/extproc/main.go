// Command extproc is the external processor that binds sessions to pods. Envoy
// asks it about each request; services and pods come from xds-server.
//
//	extproc --config envoy/extproc.yaml
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
		fmt.Fprintln(os.Stderr, "extproc:", err)
		os.Exit(1)
	}
	os.Exit(cli.Main("extproc", os.Args[1:], os.Stdout, os.Stderr, program(known)))
}
