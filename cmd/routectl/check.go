package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/xds"
)

// problem is one wrong thing.
type problem struct {
	// Kind is server, config, degraded, store, conflict, sync, client, pods, source or issue.
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// checkReport is what `check` prints.
type checkReport struct {
	OK       bool      `json:"ok"`
	Problems []problem `json:"problems"`
}

// expectations is what must be true beside what the servers know themselves.
type expectations struct {
	envoys, extprocs int
	pending          time.Duration
	conflicts        time.Duration
}

func (c *ctl) checkCommand() *cobra.Command {
	var want expectations
	cmd := &cobra.Command{
		Use: "check", Short: "Say what is wrong, one line each; exit code 1 when something is", Args: takes(0),
		Long: `Say what is wrong, one line each; the exit code is 1 when something is:
a server that does not answer or is not ready, or cannot write what must outlive
it; a replica without a lease, a store that a replica does not reach or that takes no
changes, replicas that do not share one store, a session that lately had two bindings; a changed configuration that was refused; a resource that an Envoy or extproc refused, or has not answered for
long; too few of them connected; a service without a ready pod, or whose source of
pods cannot be read or lost more than half of them at once; an open issue of high
or critical severity.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			want.extprocs = len(c.extprocURLs)
			report := c.check(cmd.Context(), want)
			if err := c.show(report, func(w io.Writer) { checkLines(w, report) }); err != nil || report.OK {
				return err
			}
			return errShown
		},
	}
	cmd.Flags().IntVar(&want.envoys, "envoys", 1, "how many Envoys at least must be connected, `N`")
	cmd.Flags().DurationVar(&want.pending, "pending", 10*time.Second, "how long a client may take to answer a push, a `time`")
	cmd.Flags().DurationVar(&want.conflicts, "conflicts", 10*time.Minute, "how long ago a session that had two bindings is still wrong, a `time`")
	return cmd
}

func checkLines(w io.Writer, r checkReport) {
	for _, p := range r.Problems {
		fmt.Fprintln(w, printable(p.Message))
	}
	if r.OK {
		fmt.Fprintln(w, "nothing is wrong")
	}
}

func (c *ctl) check(ctx context.Context, want expectations) checkReport {
	r := checkReport{Problems: []problem{}}
	states := c.states(ctx)
	for _, s := range states {
		r.server(s)
	}
	found, _ := gather(c.askReplicas(ctx)) // those that do not answer have been named
	r.replicas(found, time.Now(), want.conflicts)
	if states[0].State != "unreachable" {
		c.checkControlPlane(ctx, want, &r)
	}
	r.OK = len(r.Problems) == 0
	return r
}

func (c *ctl) checkControlPlane(ctx context.Context, want expectations, r *checkReport) {
	clients, err := c.clients(ctx)
	if r.answered(err) {
		r.clients(clients, want)
	}
	services, err := c.services(ctx)
	if r.answered(err) {
		r.services(services)
	}
	report, err := c.report(ctx)
	if r.answered(err) {
		r.issues(report.Issues)
	}
}

func (r *checkReport) add(kind, format string, args ...any) {
	r.Problems = append(r.Problems, problem{kind, fmt.Sprintf(format, args...)})
}

// answered books a question that failed.
func (r *checkReport) answered(err error) bool {
	if err != nil {
		r.add("server", "%v", err)
	}
	return err == nil
}

func (r *checkReport) server(s serverState) {
	name := s.Kind + " at " + s.URL
	switch {
	case s.State == "not ready":
		r.add("server", "%s is not ready: %s", name, s.Reason)
	case s.Reason != "":
		r.add("server", "%s", s.Reason)
	}
	for _, what := range s.Degraded {
		r.add("degraded", "%s: %s", name, what)
	}
	if s.Version != "" && !s.ConfigGood {
		reason := strings.Join(strings.Split(cmp.Or(s.ConfigError, "no reason given"), "\n"), "; ")
		r.add("config", "%s keeps its last good configuration, the newest is bad: %s", name, reason)
	}
}

// clients leaves "waiting" alone: that is a client whose state is current, which
// has been sent nothing.
func (r *checkReport) clients(clients []xds.ClientStatus, want expectations) {
	if n := streams(clients, "envoy"); n < want.envoys {
		r.add("client", "%d of %s connected to xds-server", n, count(want.envoys, "Envoy"))
	}
	if n := streams(clients, "extproc"); n < want.extprocs {
		r.add("client", "%d of %s connected to xds-server", n, count(want.extprocs, "extproc"))
	}
	for _, said := range withoutModule(clients) {
		r.add("module", "%s", said)
	}
	for _, cl := range clients {
		switch {
		case cl.Status == "nack":
			r.add("sync", "%s %q refused %s version %s: %s", cl.Client, cl.Node, cl.Type, cl.Version, cl.Reason)
		case cl.Status == "pending" && cl.Age >= want.pending.Seconds():
			r.add("sync", "%s %q has not answered %s version %s for %s", cl.Client, cl.Node, cl.Type, cl.Version, age(cl.Age))
		}
	}
}

func (r *checkReport) services(services []xds.ServiceReport) {
	for _, s := range services {
		if s.Pods["ready"] == 0 {
			r.add("pods", "service %q has no ready pod: %d draining, %d in maintenance, %d unhealthy",
				s.Name, s.Pods["draining"], s.Pods["maintenance"], s.Pods["unhealthy"])
		}
		if note := s.Source.Note(); note != "" {
			r.add("source", "service %q: %s", s.Name, note)
		}
	}
}

func (r *checkReport) issues(issues []analysis.Issue) {
	for _, i := range issues {
		if i.Severity >= analysis.High {
			r.add("issue", "%s issue, %s: %s", i.Severity, i.Rule, i.Message)
		}
	}
}
