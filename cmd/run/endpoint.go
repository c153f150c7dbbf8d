package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// endpoint is an address that one of the programs will listen on.
type endpoint struct {
	address string
	whose   string // for the reader of an error
	setting string // where the address can be changed
}

func (p *plan) endpoints() []endpoint {
	all := []endpoint{
		{p.envoyAdmin, "Envoy's admin", "the flag --envoy-admin"},
		{p.xds.Listen, "xds-server", "listen in " + p.xdsConfig},
		{p.xds.Admin, "xds-server's admin", "admin in " + p.xdsConfig},
		{p.extproc.Listen, "extproc", "listen in " + p.extprocConfig},
		{p.extproc.Admin, "extproc's admin", "admin in " + p.extprocConfig},
	}
	for _, r := range p.replicas[1:] {
		all = append(all, endpoint{r.listen, r.name, "envoy.extproc.address in " + p.xdsConfig})
	}
	for _, listener := range p.xds.Envoy.Listeners {
		all = append(all, endpoint{listener.Address, "Envoy's listener", "envoy.listener in " + p.xdsConfig})
	}
	for _, pod := range p.pods {
		all = append(all, endpoint{pod.Address.String(), "demo pod " + pod.Name, "pods.static in " + p.xdsConfig})
	}
	return all
}

// check finds what would keep the programs from starting, one line each.
func (p *plan) check() error {
	var errs []error
	for _, name := range []string{"demo-pod", "xds-server", "extproc"} {
		if _, err := os.Stat(filepath.Join(p.bin, name)); err != nil {
			errs = append(errs, fmt.Errorf("%s is not in %s: make build puts it there", name, p.bin))
		}
	}
	for _, e := range p.endpoints() {
		errs = append(errs, e.check())
	}
	return errors.Join(errs...)
}

// check tells whether the endpoint's address can be listened on.
func (e endpoint) check() error {
	if path, ok := strings.CutPrefix(e.address, "unix:"); ok {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			return e.inUse("socket " + path)
		}
		return nil // nobody answers there
	}
	l, err := net.Listen("tcp", e.address)
	if errors.Is(err, syscall.EADDRINUSE) {
		_, port, splitErr := net.SplitHostPort(e.address)
		if splitErr != nil {
			return splitErr
		}
		return e.inUse("port " + port)
	}
	if err != nil {
		return fmt.Errorf("%s (%s) cannot listen: %w", e.whose, e.setting, err)
	}
	return l.Close()
}

func (e endpoint) inUse(what string) error {
	return fmt.Errorf("%s, for %s, is in use: stop the program that has it, or change %s", what, e.whose, e.setting)
}
