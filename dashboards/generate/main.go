// Command generate writes the Grafana dashboard to the file it is given.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/stateful-route/stateful-route/dashboards"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: generate FILE")
	}
	built, err := dashboards.Build()
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(built, "", "  ")
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return os.WriteFile(args[0], append(text, '\n'), 0o644)
}
