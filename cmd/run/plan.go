package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/envoy"
	"github.com/stateful-route/stateful-route/internal/envoybin"
)

// plan is what the configuration says is to run where.
type plan struct {
	options
	xds     *config.XDSServer
	extproc *config.Extproc
	pods    []statefulroute.Pod // those that the demo can provide itself

	replicas []replica
	store    *storeServer // nil: none is to be started
	fast     fastPath
}

// spec is one program to start.
type spec struct {
	name string
	path string
	args []string
}

func newPlan(o options, known ...config.Option) (*plan, error) {
	xds, err := config.LoadXDSServer(o.xdsConfig, known...)
	if err != nil {
		return nil, err
	}
	extproc, err := config.LoadExtproc(o.extprocConfig, known...)
	if err != nil {
		return nil, err
	}
	if extproc.XDS != xds.Listen {
		return nil, fmt.Errorf("%s: xds is %s, but %s listens on %s", o.extprocConfig, extproc.XDS, o.xdsConfig, xds.Listen)
	}
	if !slices.Contains(xds.Envoy.Extproc.Addresses, extproc.Listen) {
		return nil, fmt.Errorf("%s: envoy.extproc.address is %v, but %s listens on %s", o.xdsConfig, xds.Envoy.Extproc.Addresses, o.extprocConfig, extproc.Listen)
	}
	p := &plan{options: o, xds: xds, extproc: extproc, pods: demoPods(xds.Services)}
	err = p.addReplicas()
	return p, err
}

// demoPods are the static pods on loopback addresses; others are the user's own.
func demoPods(services []statefulroute.Service) []statefulroute.Pod {
	var pods []statefulroute.Pod
	for _, svc := range services {
		for _, p := range svc.Pods.Static {
			if p.Address.Addr().IsLoopback() {
				pods = append(pods, p)
			}
		}
	}
	return pods
}

// programs lists what to start, in order; each needs only those before it.
func (p *plan) programs(dir string, bin envoybin.Binary) ([]spec, error) {
	bootstrap, err := envoy.Bootstrap(envoy.BootstrapOptions{XDS: p.xds.Listen, Admin: p.envoyAdmin, Module: p.fast.module, Table: p.fast.table})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "bootstrap.yaml")
	if err := os.WriteFile(file, bootstrap, 0o644); err != nil {
		return nil, err
	}
	var all []spec
	for _, pod := range p.pods {
		all = append(all, p.ours(pod.Name, "demo-pod", "--name", pod.Name, "--listen", pod.Address.String()))
	}
	routers, err := p.routers(dir)
	if err != nil {
		return nil, err
	}
	return append(append(all, routers...),
		spec{"envoy", bin.Path, []string{"--config-path", file, "--disable-hot-restart", "--log-level", "warning", "--concurrency", strconv.Itoa(p.concurrency)}},
	), nil
}

// routers are xds-server, the extprocs and what these share.
func (p *plan) routers(dir string) (all []spec, err error) {
	if !p.plural() {
		file, err := p.withTable(dir)
		return []spec{
			p.ours("xds-server", "xds-server", "--config", p.xdsConfig),
			p.ours("extproc", "extproc", "--config", file),
		}, err
	}
	if err := p.configure(dir); err != nil {
		return nil, err
	}
	if p.store != nil {
		server, err := p.store.spec(dir)
		if err != nil {
			return nil, err
		}
		all = append(all, server)
	}
	all = append(all, p.ours("xds-server", "xds-server", "--config", p.xdsReplicated(dir)))
	for _, r := range p.replicas {
		all = append(all, p.ours(r.name, "extproc", "--config", r.config(dir)))
	}
	return all, nil
}

// ours is a program of this repository.
func (p *plan) ours(name, program string, args ...string) spec {
	return spec{name, filepath.Join(p.bin, program), args}
}

// url is how a program on this machine reaches an address something listens on.
func url(address, path string) string {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return "http://" + address + path
	}
	host := a.Addr()
	switch {
	case host == netip.IPv4Unspecified():
		host = netip.MustParseAddr("127.0.0.1")
	case host == netip.IPv6Unspecified():
		host = netip.IPv6Loopback()
	}
	return "http://" + net.JoinHostPort(host.String(), strconv.Itoa(int(a.Port()))) + path
}

// front is the first service, through Envoy.
func (p *plan) front() string {
	first := p.xds.Envoy.Listeners[0]
	out := url(first.Address, p.xds.Services[0].Prefix)
	if first.TLS {
		out = "https" + strings.TrimPrefix(out, "http")
	}
	return out
}

// describe says what runs and what to try.
func (p *plan) describe(out io.Writer, bin envoybin.Binary) {
	front, curl := p.front(), "curl"
	if p.xds.Envoy.Listeners[0].TLS {
		curl = "curl -k" // its certificate is not for the address
	}
	_, _ = fmt.Fprintf(out, `
run: ready, a request was served through Envoy %s (%s)

  Envoy for clients   %s
  Envoy's own admin   %s
  xds-server          %s
  sessions            %s
  requests            %s
%s
  %s -H 'x-session-id: alice' %s

Ctrl-C stops everything.

`, bin.Version, bin.Source, front, url(p.envoyAdmin, "/"), url(p.xds.Admin, "/"), url(p.extproc.Admin, "/api/v1/sessions"), p.fast.seen, p.describeReplicas(), curl, front)
}

// describeReplicas says how to see several extprocs; nothing of one.
func (p *plan) describeReplicas() string {
	if !p.plural() {
		return ""
	}
	var out strings.Builder
	for _, r := range p.replicas {
		fmt.Fprintf(&out, "  %-20s%s\n", r.name, url(r.admin, "/api/v1/replicas"))
	}
	if p.store != nil {
		fmt.Fprintf(&out, "  %-20s%s at %s, which keeps nothing\n", "their store", filepath.Base(p.store.path), p.store.address)
	}
	fmt.Fprintf(&out, "\n  %s replicas --xds-admin %s", filepath.Join(p.bin, "routectl"), url(p.xds.Admin, ""))
	for _, r := range p.replicas {
		fmt.Fprintf(&out, " --extproc-admin %s", url(r.admin, ""))
	}
	return out.String() + "\n"
}
