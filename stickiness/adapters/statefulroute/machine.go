package statefulroute

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"

	"github.com/stateful-route/stateful-route/stickiness/adapters/envoyproc"
	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

var (
	//go:embed xds-server.yaml.tmpl
	xdsServerText string
	//go:embed extproc.yaml.tmpl
	extprocText string
	//go:embed bootstrap.yaml.tmpl
	bootstrapText string
	//go:embed pods.yaml.tmpl
	podsText string
)

const (
	xdsServerFile = "xds-server.yaml"
	extprocFile   = "extproc.yaml"
	bootstrapFile = "bootstrap.yaml"
)

// machine is one gateway: the node is what passes requests, Envoy and extproc; control is
// xds-server. The fields are the templates'.
type machine struct {
	*fleet.Node
	control *fleet.Node

	Health         gateway.Health
	XDS, XDSAdmin  string
	EnvoyAdmin     string
	Listen         string // extproc's
	ProcessorAdmin string
	Processors     []*machine // whose extprocs every Envoy asks
	PodsFile       string
	Session        string // where a session's name is
	Store          string // empty: memory
	Module, Table  string // empty: no fast path
}

func newMachine(node, control *fleet.Node) *machine {
	a := append([]string{}, node.More...)
	return &machine{Node: node, control: control, XDS: a[0], XDSAdmin: a[1], EnvoyAdmin: a[2], Listen: a[3], ProcessorAdmin: a[4]}
}

// addresses is how many a machine needs beside the clients'.
const addresses = 5

// configure writes all files.
func (m *machine) configure() error {
	for _, f := range []struct {
		node       *fleet.Node
		name, text string
	}{{m.control, xdsServerFile, xdsServerText}, {m.Node, extprocFile, extprocText}, {m.Node, bootstrapFile, bootstrapText}} {
		if err := f.node.Render(f.name, fleet.Template(f.text), m); err != nil {
			return err
		}
	}
	return nil
}

// startControl starts xds-server.
func (m *machine) startControl(p programs) error {
	_, err := m.control.Run("xds-server", p.xdsServer, "--config", m.control.Path(xdsServerFile), "--log-level", "info")
	return err
}

// start starts extproc and then Envoy.
func (m *machine) start(ctx context.Context, p programs) error {
	if _, err := m.Run("extproc", p.extproc, "--config", m.Path(extprocFile), "--log-level", "info"); err != nil {
		return err
	}
	if err := m.Until(ctx, m.ready(m.ProcessorAdmin)); err != nil {
		return fmt.Errorf("extproc: %w", err)
	}
	if err := envoyproc.Start(m.Node, p.envoy, bootstrapFile); err != nil {
		return err
	}
	if err := gateway.WaitStatus(ctx, "http://"+m.Address+m.Health.Path, http.StatusOK); err != nil {
		return err
	}
	return m.Until(ctx, m.leads)
}

// ready reports nil once the program with that admin address is.
func (m *machine) ready(admin string) func(context.Context) error {
	return func(ctx context.Context) error {
		var answer any
		return envoyproc.JSON(ctx, http.MethodGet, "http://"+admin+"/readyz", &answer)
	}
}

// leads reports nil once the machine's Envoy and extproc have all that xds-server has for
// them.
func (m *machine) leads(ctx context.Context) error {
	var clients []struct {
		Node   string `json:"node"`
		Client string `json:"client"`
		Type   string `json:"type"`
		Status string `json:"status"`
	}
	if err := envoyproc.JSON(ctx, http.MethodGet, "http://"+m.XDSAdmin+"/api/v1/envoys", &clients); err != nil {
		return err
	}
	has := map[string]bool{}
	for _, c := range clients {
		if c.Status != "ack" {
			return fmt.Errorf("%s of %s: %s", c.Type, c.Node, c.Status)
		}
		has[c.Client+" "+c.Type] = true
	}
	for _, w := range []string{"envoy lds", "envoy cds", "envoy eds", "extproc cds", "extproc eds"} {
		if !has[w] {
			return fmt.Errorf("%s: not yet", w)
		}
	}
	return nil
}
