package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/xds"
)

// verdict is what `validate` prints.
type verdict struct {
	File   string   `json:"file"`
	Kind   string   `json:"kind"`
	Valid  bool     `json:"valid"`
	Errors []string `json:"errors"`
}

func (c *ctl) validateCommand() *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use: "validate FILE", Short: "Check a configuration of xds-server or extproc: FILE:LINE: reason for each fault", Args: takes(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind != "" && kind != "xds-server" && kind != "extproc" {
				return usageError{fmt.Errorf("--kind is xds-server or extproc, not %q", kind)}
			}
			v, err := c.validate(cmd.Context(), args[0], kind)
			if err != nil {
				return err
			}
			return c.showVerdict(v)
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "`PROGRAM` the file is for, xds-server or extproc; by default its content tells")
	return cmd
}

func (c *ctl) showVerdict(v verdict) error {
	switch {
	case c.json():
		if err := writeJSON(c.Stdout, v); err != nil {
			return err
		}
	case v.Valid:
		fmt.Fprintf(c.Stdout, "%s is a good configuration of %s\n", v.File, v.Kind)
	default:
		for _, line := range v.Errors {
			fmt.Fprintln(c.Stderr, printable(line))
		}
	}
	if !v.Valid {
		return errShown
	}
	return nil
}

func (c *ctl) validate(ctx context.Context, file, kind string) (verdict, error) {
	if kind == "" {
		var err error
		if kind, err = kindOf(file); err != nil {
			return verdict{}, err
		}
	}
	var err error
	if kind == "extproc" {
		_, err = config.LoadExtproc(file, c.Extensions.Config()...)
	} else {
		_, err = xds.Preview(ctx, file, c.Extensions.Config()...)
	}
	v := verdict{File: file, Kind: kind, Valid: err == nil, Errors: []string{}}
	if err != nil {
		v.Errors = strings.Split(err.Error(), "\n")
	}
	return v, nil
}

// kindOf tells by its top-level fields which program a file is for. One that is
// empty or not YAML is given to xds-server's reader, which says what is wrong.
func kindOf(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var root yaml.Node
	_ = yaml.Unmarshal(raw, &root) // leaves root empty when it fails
	if len(root.Content) == 0 {
		return "xds-server", nil
	}
	found := map[string]bool{}
	if top := root.Content[0]; top.Kind == yaml.MappingNode {
		for i := 0; i < len(top.Content); i += 2 {
			found[kindOfField(top.Content[i].Value)] = true
		}
	}
	switch {
	case found["xds-server"] && !found["extproc"]:
		return "xds-server", nil
	case found["extproc"] && !found["xds-server"]:
		return "extproc", nil
	}
	return "", fmt.Errorf("%s: its fields do not tell which program it is for: say --kind xds-server or --kind extproc", file)
}

// kindOfField knows the fields that only one of the programs has.
func kindOfField(name string) string {
	switch name {
	case "services", "envoy", "analyzer":
		return "xds-server"
	case "affinity", "store", "xds", "fast_path":
		return "extproc"
	}
	return ""
}
