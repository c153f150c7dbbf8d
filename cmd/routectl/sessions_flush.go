package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func (c *ctl) sessionsFlushCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "flush SERVICE", Short: "Forget all sessions of a service, on every extproc", Args: takes(1, "SERVICE"),
		Long: `Forget all sessions of a service, on every extproc: the next request of each is
placed anew, and what its pod kept for it is not found again.

It asks before it does so. Where nobody can be asked, as in a script, it needs --yes.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				if err := c.confirmFlush(args[0]); err != nil {
					return err
				}
			}
			return c.flushSessions(cmd.Context(), args[0])
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirmFlush returns an error unless the operator says yes.
func (c *ctl) confirmFlush(service string) error {
	if !c.Interactive {
		return usageError{errors.New("standard input is not a terminal, so nobody can be asked: say --yes to forget all sessions")}
	}
	fmt.Fprintf(c.Stderr, "Forget all sessions of %s on %s? [y/N] ", quoted(service), count(len(c.extprocURLs), "extproc"))
	answer, err := bufio.NewReader(c.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed: no session was forgotten")
}

// flushed is what a flush came to: the sum of all extprocs.
type flushed struct {
	Service   string `json:"service"`
	Forgotten int    `json:"forgotten"`
	Extprocs  int    `json:"extprocs"`
}

// flushSessions goes on when an extproc fails, and says so.
func (c *ctl) flushSessions(ctx context.Context, service string) error {
	sum := flushed{Service: service}
	var missing error
	var failed []error
	for _, t := range c.targets(ctx) {
		var one flushed
		err := t.err
		if err == nil {
			err = t.call(ctx, http.MethodDelete, "/api/v1/sessions/"+segment(service), nil, &one)
		}
		switch {
		case err == nil:
			sum.Forgotten += one.Forgotten
			sum.Extprocs += t.replicas
		case hasStatus(err, http.StatusNotFound):
			missing = err
		default:
			failed = append(failed, c.at(t.server, err))
		}
	}
	if sum.Extprocs == 0 {
		return errors.Join(append(failed, missing)...)
	}
	return errors.Join(c.show(sum, func(w io.Writer) {
		row(w, count(sum.Forgotten, "session")+" forgotten by "+count(sum.Extprocs, "extproc"))
	}), errors.Join(failed...))
}
