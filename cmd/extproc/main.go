// Command extproc is the external processor that binds sessions to pods. Envoy
// asks it about each request; services and pods come from xds-server.
//
//	extproc --config envoy/extproc.yaml
package main

import (
	"os"

	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/internal/cli"
)

func main() {
	strategies := balancing.NewRegistry() // one of your own joins with strategies.Register, in extproc and xds-server
	os.Exit(cli.Main("extproc", os.Args[1:], os.Stdout, os.Stderr, program(strategies)))
}
