package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stateful-route/stateful-route/xds"
)

func (c *ctl) envoysCommand() *cobra.Command {
	return &cobra.Command{
		Use: "envoys", Short: "List the xDS clients, Envoys and extprocs, and how far each is in sync", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			clients, err := c.clients(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(clients, func(w io.Writer) { clientsTable(w, clients) })
		},
	}
}

// clients returns a row per xDS client and resource type.
func (c *ctl) clients(ctx context.Context) (list []xds.ClientStatus, err error) {
	err = c.xds().get(ctx, "/api/v1/envoys", &list)
	return list, err
}

func clientsTable(w io.Writer, clients []xds.ClientStatus) {
	row(w, "CLIENT", "NODE", "PROTOCOL", "TYPE", "STATUS", "VERSION", "AGE", "CONNECTED", "PATH", "REASON")
	for _, cl := range clients {
		status := cl.Status
		if cl.Lagging {
			status += " (lagging: nobody waits for it)"
		}
		row(w, cl.Client, cl.Node, cl.Protocol, cl.Type, status, cl.Version, age(cl.Age), age(cl.Connected), cmp.Or(cl.Path, "-"), cl.Reason)
	}
	for _, said := range withoutModule(clients) {
		fmt.Fprintln(w, printable(said))
	}
}

// withoutModule are the Envoys that ask for the module and do without, and why: a sentence
// for each.
func withoutModule(clients []xds.ClientStatus) (out []string) {
	for _, cl := range clients {
		if cl.PathReason == "" {
			continue
		}
		said := fmt.Sprintf("envoy %q asks extproc about every request, for it has not the module: %s", cl.Node, cl.PathReason)
		if !slices.Contains(out, said) { // it has a row for each resource type
			out = append(out, said)
		}
	}
	return out
}

// streams counts the connected clients of a kind: each has its own time of
// connection, the same in all its rows.
func streams(clients []xds.ClientStatus, kind string) int {
	return streamsThat(clients, func(cl xds.ClientStatus) bool { return cl.Client == kind })
}

func streamsThat(clients []xds.ClientStatus, counts func(xds.ClientStatus) bool) int {
	type stream struct {
		node, protocol string
		connected      float64
	}
	seen := map[stream]bool{}
	for _, cl := range clients {
		if counts(cl) {
			seen[stream{cl.Node, cl.Protocol, cl.Connected}] = true
		}
	}
	return len(seen)
}
