package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stateful-route/stateful-route/extproc/admin"
	"github.com/stateful-route/stateful-route/xds"
)

// statusReport is everything at a glance. What xds-server would have said is
// empty when it does not answer.
type statusReport struct {
	Servers []serverState `json:"servers"`
	// Stores are those that extprocs share, with their replicas.
	Stores   []storeReplicas     `json:"stores,omitempty"`
	Services []xds.ServiceReport `json:"services"`
	// Clients are the connected xDS clients by kind, OutOfSync the resource
	// types that one of them refused or has not answered yet.
	Clients   map[string]int `json:"clients"`
	OutOfSync int            `json:"out_of_sync"`
	// WithModule are the Envoys that answer for known sessions by themselves, WithoutModule
	// says of each that does not why, where it should.
	WithModule    int      `json:"with_module"`
	WithoutModule []string `json:"without_module,omitempty"`
	// Issues are the open ones by severity, Summary the analyzer's sentence.
	Issues  map[string]int `json:"issues"`
	Summary string         `json:"summary"`
}

func (c *ctl) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show the servers, services, xDS clients and issues at a glance", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := c.status(cmd.Context())
			return errors.Join(c.show(status, func(w io.Writer) { statusTable(w, status) }), err)
		},
	}
}

// status gathers what it can get; the error names the servers that did not answer.
func (c *ctl) status(ctx context.Context) (statusReport, error) {
	out := statusReport{
		Servers: c.states(ctx), Services: []xds.ServiceReport{},
		Clients: map[string]int{"envoy": 0, "extproc": 0}, Issues: map[string]int{},
	}
	found, _ := gather(c.askReplicas(ctx)) // those that do not answer are servers that are unreachable
	for _, s := range found.Stores {
		if s.Kind != admin.StoreMemory {
			out.Stores = append(out.Stores, s)
		}
	}
	var failed []error
	for _, s := range out.Servers {
		if s.State == "unreachable" {
			failed = append(failed, errors.New(s.Reason))
		}
	}
	if out.Servers[0].State != "unreachable" {
		failed = append(failed, c.askControlPlane(ctx, &out))
	}
	return out, errors.Join(failed...)
}

func (c *ctl) askControlPlane(ctx context.Context, out *statusReport) (err error) {
	if out.Services, err = c.services(ctx); err != nil {
		return err
	}
	clients, err := c.clients(ctx)
	if err != nil {
		return err
	}
	report, err := c.report(ctx)
	if err != nil {
		return err
	}
	for kind := range out.Clients {
		out.Clients[kind] = streams(clients, kind)
	}
	out.WithModule = streamsThat(clients, func(cl xds.ClientStatus) bool { return cl.Path == xds.PathModule })
	out.WithoutModule = withoutModule(clients)
	for _, cl := range clients {
		if cl.Status == "nack" || cl.Status == "pending" {
			out.OutOfSync++
		}
	}
	for _, issue := range report.Issues {
		out.Issues[issue.Severity.String()]++
	}
	out.Summary = report.Summary
	return nil
}

func statusTable(w io.Writer, s statusReport) {
	row(w, "SERVER", "URL", "STATE", "VERSION", "CONFIGURATION", "SESSIONS", "HIT RATE")
	for _, v := range s.Servers {
		row(w, append([]any{v.Kind, v.URL, v.State, v.Version, v.configuration()}, v.table()...)...)
	}
	for _, v := range s.Servers {
		v.reasons(w)
	}
	for _, store := range s.Stores {
		fmt.Fprintln(w, printable(store.summary()))
	}
	if s.Servers[0].State == "unreachable" {
		return
	}
	fmt.Fprintln(w)
	servicesTable(w, s.Services)
	for _, svc := range s.Services {
		if note := svc.Source.Note(); note != "" {
			fmt.Fprintf(w, "service %s: %s\n", printable(svc.Name), printable(note))
		}
	}
	fmt.Fprintf(w, "\n%s and %s connected, ", count(s.Clients["envoy"], "Envoy"), count(s.Clients["extproc"], "extproc"))
	if s.OutOfSync == 0 {
		fmt.Fprintln(w, "all in sync")
	} else {
		fmt.Fprintf(w, "%s out of sync: see routectl envoys\n", count(s.OutOfSync, "resource type"))
	}
	if s.WithModule > 0 {
		fmt.Fprintf(w, "%s with the fast path\n", count(s.WithModule, "Envoy"))
	}
	for _, said := range s.WithoutModule {
		fmt.Fprintln(w, printable(said))
	}
	fmt.Fprintln(w, printable(s.Summary))
}

// configuration says whether the newest file is in force.
func (s serverState) configuration() string {
	switch {
	case s.Version == "":
		return "-"
	case s.ConfigGood:
		return "in force"
	}
	return "bad: the last good one is kept"
}

// table is an extproc's session table.
func (s serverState) table() []any {
	if s.Table == nil {
		return []any{"-", "-"}
	}
	return []any{strconv.Itoa(s.Table.Size) + " of " + strconv.Itoa(s.Table.Capacity), percent(s.Table.HitRate)}
}

// reasons says why a server is not as it should be, below the table.
func (s serverState) reasons(w io.Writer) {
	if s.State == "not ready" {
		fmt.Fprintf(w, "%s at %s: %s\n", s.Kind, s.URL, printable(s.Reason))
	}
	for _, what := range s.Degraded {
		fmt.Fprintf(w, "%s at %s: %s\n", s.Kind, s.URL, printable(what))
	}
	if s.Version != "" && !s.ConfigGood {
		for line := range strings.SplitSeq(cmp.Or(s.ConfigError, "no reason given"), "\n") {
			fmt.Fprintf(w, "%s at %s: %s\n", s.Kind, s.URL, printable(line))
		}
	}
}
