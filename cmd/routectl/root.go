package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/cli"
	"github.com/stateful-route/stateful-route/internal/extensions"
)

// Options is what a run of the command line works with.
type Options struct {
	Stdout, Stderr io.Writer
	// Stdin is where answers come from if Interactive, which says that somebody is
	// there to be asked.
	Stdin       io.Reader
	Interactive bool
	// HTTP asks the servers. nil means a client that gives up after 10s.
	HTTP *http.Client
	// Extensions are the strategies that configurations may name.
	Extensions extensions.Set
	// Poll is the pause between two counts of `pods drain --wait`; 0 means 500ms.
	Poll time.Duration
}

// ctl is one run: its options and the flags all commands share.
type ctl struct {
	Options
	xdsURL      string
	extprocURLs []string
	output      string
	told        map[string]bool // lines that standard error has
}

// usageError is the operator's mistake: it is followed by how to get help.
type usageError struct{ error }

// errShown ends a run with code 1 when what is wrong has been printed already.
var errShown = errors.New("already shown")

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string, o Options) int {
	if o.HTTP == nil {
		o.HTTP = &http.Client{Timeout: 10 * time.Second}
	}
	if o.Poll == 0 {
		o.Poll = 500 * time.Millisecond
	}
	root := newRoot(&ctl{Options: o})
	root.SetArgs(args)
	root.SetOut(o.Stdout)
	root.SetErr(o.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return exitCode(o.Stderr, cmd, err)
}

func exitCode(stderr io.Writer, cmd *cobra.Command, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errShown):
		return 1
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "routectl: %v\n%q tells how to use it\n", err, cmd.CommandPath()+" --help")
		return 2
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "routectl: %s\n", line)
	}
	return 1
}

func newRoot(c *ctl) *cobra.Command {
	root := &cobra.Command{
		Use:               "routectl",
		Short:             "See and steer the pods and sessions of Stateful Route",
		Version:           cli.Version(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              noCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return c.checkFlags() },
	}
	root.SetVersionTemplate("routectl {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVar(&c.xdsURL, "xds-admin", "http://"+config.DefaultXDSAdmin, "admin `URL` of xds-server")
	flags.StringArrayVar(&c.extprocURLs, "extproc-admin", []string{"http://" + config.DefaultExtprocAdmin}, "admin `URL` of an extproc; repeat it for each replica")
	flags.StringVarP(&c.output, "output", "o", "table", "`FORMAT`: table or json")
	root.AddCommand(
		c.statusCommand(), c.servicesCommand(), c.podsCommand(), c.sessionsCommand(), c.envoysCommand(), c.replicasCommand(),
		c.reportCommand(), c.checkCommand(), c.validateCommand(), c.renderCommand(),
	)
	return root
}

// checkFlags also lets a URL be given without its scheme.
func (c *ctl) checkFlags() error {
	if c.output != "table" && c.output != "json" {
		return usageError{fmt.Errorf("--output is table or json, not %q", c.output)}
	}
	urls := append([]string{c.xdsURL}, c.extprocURLs...)
	for i, text := range urls {
		full, err := baseURL(text)
		if err != nil {
			return usageError{err}
		}
		urls[i] = full
	}
	c.xdsURL, c.extprocURLs = urls[0], urls[1:]
	return nil
}

// takes is cobra.RangeArgs with an error that names the arguments.
func takes(least int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usageError{fmt.Errorf("%s is missing", names[len(args)])}
		case len(args) > len(names):
			return usageError{fmt.Errorf("unexpected argument %q", args[len(names)])}
		}
		return nil
	}
}

// noCommand refuses arguments of a command that only has commands below it.
func noCommand(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("there is no command %q", args[0])}
	}
	return nil
}

// group is a command that only has commands below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: noCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(below...)
	return cmd
}
