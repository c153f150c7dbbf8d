// Command extproc is the external processor that binds sessions to pods. Envoy
// asks it about each request; services and pods come from xds-server.
//
//	extproc --config envoy/extproc.yaml
package main

import (
	"os"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/cli"
)

func main() {
	os.Exit(cli.Main("extproc", os.Args[1:], os.Stdout, os.Stderr, cli.Program{
		Check: func(file string) error { _, err := config.LoadExtproc(file); return err },
		Run:   run,
	}))
}
