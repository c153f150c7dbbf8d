package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stateful-route/stateful-route/xds"
)

func (c *ctl) servicesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "services", Short: "List the services", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			services, err := c.services(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(services, func(w io.Writer) { servicesTable(w, services) })
		},
	}
}

func (c *ctl) services(ctx context.Context) (list []xds.ServiceReport, err error) {
	err = c.xds().get(ctx, "/api/v1/services", &list)
	return list, err
}

func servicesTable(w io.Writer, services []xds.ServiceReport) {
	row(w, "SERVICE", "HOSTS", "PREFIX", "STRATEGY", "READY", "DRAINING", "MAINTENANCE", "UNHEALTHY", "ON POD LOSS", "ON EXTPROC LOSS")
	for _, s := range services {
		row(w, s.Name, strings.Join(s.Hosts, ","), s.Prefix, s.Strategy,
			s.Pods["ready"], s.Pods["draining"], s.Pods["maintenance"], s.Pods["unhealthy"], s.OnPodLoss, s.OnExtprocLoss)
	}
}

// podRow is a pod with the name of its service.
type podRow struct {
	Service string `json:"service"`
	xds.PodReport
}

func (c *ctl) podsCommand() *cobra.Command {
	pods := &cobra.Command{
		Use: "pods [SERVICE]", Short: "List the pods of a service, or of all; or give an order to one",
		Args: takes(0, "SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			rows, err := c.pods(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.show(rows, func(w io.Writer) { podsTable(w, rows) })
		},
	}
	pods.AddCommand(
		c.drainCommand(),
		c.orderCommand("ready", "Let a pod take new sessions again"),
		c.orderCommand("maintenance", "Take a pod out: it gets nothing, its sessions are lost to it"),
		c.acceptCommand(),
	)
	return pods
}

// pods lists the pods of the services named, or of all.
func (c *ctl) pods(ctx context.Context, services []string) ([]podRow, error) {
	if len(services) == 0 {
		all, err := c.services(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			services = append(services, s.Name)
		}
	}
	rows := []podRow{}
	for _, name := range services {
		var pods []xds.PodReport
		if err := c.xds().get(ctx, "/api/v1/services/"+segment(name)+"/pods", &pods); err != nil {
			return nil, err
		}
		for _, p := range pods {
			rows = append(rows, podRow{name, p})
		}
	}
	return rows, nil
}

func podsTable(w io.Writer, rows []podRow) {
	row(w, "SERVICE", "POD", "ADDRESS", "ZONE", "STATE", "WEIGHT", "IN FLIGHT", "RESPONSE TIME", "ERRORS", "SESSIONS")
	for _, p := range rows {
		row(w, p.Service, p.Name, p.Address, p.Zone, p.State, p.Weight, p.InFlight, responseTime(p.ResponseTime), percent(p.ErrorRate), p.Sessions)
	}
}

func (c *ctl) orderCommand(order, short string) *cobra.Command {
	return &cobra.Command{
		Use: order + " SERVICE POD", Short: short, Args: takes(2, "SERVICE", "POD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			pod, err := c.order(cmd.Context(), args[0], args[1], order)
			if err != nil {
				return err
			}
			return errors.Join(c.show(pod, func(w io.Writer) { orderTable(w, pod) }), pod.notSaved())
		},
	}
}

// acceptCommand believes what a source says, which xds-server doubts.
func (c *ctl) acceptCommand() *cobra.Command {
	return &cobra.Command{
		Use: "accept SERVICE", Short: "Believe that a service's source lost pods", Args: takes(1, "SERVICE"),
		Long: `Believe that a service's source lost pods.

xds-server keeps the pods that a source lacks when they are more than half of
all, or where DNS answers lack any, until the source has said so for as long as
services[].pods.hold. This command ends the wait: the pods that the source lacks
are gone at once, and their sessions with them.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var svc xds.ServiceReport
			if err := c.xds().call(cmd.Context(), "POST", "/api/v1/services/"+segment(args[0])+"/pods/accept", nil, &svc); err != nil {
				return err
			}
			return c.show(svc, func(w io.Writer) {
				n := 0
				for _, pods := range svc.Pods {
					n += pods
				}
				row(w, printable(svc.Name)+" has "+count(n, "pod")+" now")
			})
		},
	}
}

// orderRow is a pod as an order left it, and whether the order was saved.
type orderRow struct {
	podRow
	Saved bool   `json:"saved"`
	Error string `json:"error,omitempty"`
}

// notSaved is why a restart of xds-server would forget the order, though one who
// set it up meant to keep it.
func (o orderRow) notSaved() error {
	if o.Error == "" {
		return nil
	}
	return fmt.Errorf("the order on %s of %s is %s", printable(o.Name), printable(o.Service), printable(o.Error))
}

// order gives an order and returns the pod as it left it.
func (c *ctl) order(ctx context.Context, service, pod, order string) (orderRow, error) {
	var said xds.OverrideReport
	path := "/api/v1/services/" + segment(service) + "/pods/" + segment(pod) + "/" + order
	err := c.xds().call(ctx, "POST", path, nil, &said)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("interrupted: whether the order is in force is not known, routectl pods %s tells", quoted(service))
	}
	return orderRow{podRow{service, said.PodReport}, said.Saved, said.Error}, err
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(printable(word), "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._:@%+/-]+$`)

// orderTable tells the state that came of an order: a drained pod that is
// unhealthy stays unhealthy.
func orderTable(w io.Writer, pod orderRow) {
	row(w, printable(pod.Name)+" of "+printable(pod.Service)+" is "+pod.State)
}
