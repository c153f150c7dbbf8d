package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// replica is one extproc of the demonstration.
type replica struct {
	name, listen, admin string
}

// storeServer is what replicas share their sessions by.
type storeServer struct {
	path, address string
}

// errNoStore says what several replicas need.
var errNoStore = errors.New("--replicas: several extprocs share their sessions by a store, and neither valkey-server nor redis-server is on PATH: " +
	"install one (apt-get install redis-server, dnf install valkey, brew install valkey), or name a server in store.valkey of the configuration")

// findStore returns a server that is installed.
func findStore() (*storeServer, error) {
	for _, name := range []string{"valkey-server", "redis-server"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		address, err := freeAddress()
		return &storeServer{path, address}, err
	}
	return nil, errNoStore
}

// spec starts the server so that it keeps nothing: with the demonstration all sessions end.
func (s *storeServer) spec(dir string) (spec, error) {
	host, port, err := net.SplitHostPort(s.address)
	return spec{"store", s.path, []string{
		"--bind", host, "--port", port, "--dir", dir, "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--loglevel", "warning",
	}}, err
}

// freeAddress is one of this machine that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// plural reports whether there are several extprocs: they run with configurations of
// their own.
func (p *plan) plural() bool { return len(p.replicas) > 1 }

// addReplicas decides where each extproc listens, and what store they share. The first is
// where the configuration says, the others where xds-server's says, or where there is room.
func (p *plan) addReplicas() error {
	if p.count < 1 {
		return fmt.Errorf("--replicas=%d: there must be at least one", p.count)
	}
	if p.count == 1 {
		p.replicas = []replica{{"extproc", p.extproc.Listen, p.extproc.Admin}}
		return nil
	}
	p.replicas = []replica{{"extproc-0", p.extproc.Listen, p.extproc.Admin}}
	for _, address := range p.xds.Envoy.Extproc.Addresses {
		if address != p.extproc.Listen && len(p.replicas) < p.count {
			p.replicas = append(p.replicas, replica{listen: address})
		}
	}
	for len(p.replicas) < p.count {
		p.replicas = append(p.replicas, replica{})
	}
	for i := 1; i < len(p.replicas); i++ {
		r := &p.replicas[i]
		r.name = fmt.Sprintf("extproc-%d", i)
		var err error
		if r.listen == "" {
			if r.listen, err = freeAddress(); err != nil {
				return err
			}
		}
		if r.admin, err = freeAddress(); err != nil {
			return err
		}
	}
	if p.extproc.Store.Valkey != nil {
		return nil
	}
	var err error
	p.store, err = findStore()
	return err
}

// configure writes what several replicas differ in from the configuration, and has
// xds-server know all of them.
func (p *plan) configure(dir string) error {
	var listens []string
	for i, r := range p.replicas {
		listens = append(listens, r.listen)
		changes := map[string]any{"listen": r.listen, "admin": r.admin, "state": filepath.Join(dir, r.name+".services.json")}
		if i > 0 && p.extproc.FastPath.Table != "" {
			changes["fast_path"] = nil // a table has one writer
		}
		maps.Copy(changes, p.tableOf(i))
		if p.store != nil {
			changes["store"] = map[string]any{"valkey": map[string]any{"addresses": []string{p.store.address}}}
		}
		if err := rewrite(p.extprocConfig, r.config(dir), func(c map[string]any) {
			maps.Copy(c, changes)
		}); err != nil {
			return err
		}
	}
	return rewrite(p.xdsConfig, p.xdsReplicated(dir), func(c map[string]any) {
		envoy := mapUnder(c, "envoy")
		mapUnder(envoy, "extproc")["address"] = listens
	})
}

func (r replica) config(dir string) string { return filepath.Join(dir, r.name+".yaml") }

func (p *plan) xdsReplicated(dir string) string { return filepath.Join(dir, "xds-server.yaml") }

// mapUnder is the map under a name, which is made where there is none.
func mapUnder(of map[string]any, name string) map[string]any {
	c, ok := of[name].(map[string]any)
	if !ok {
		c = map[string]any{}
		of[name] = c
	}
	return c
}

// rewrite writes a changed copy of a configuration, whose files stay where they are.
func rewrite(from, to string, change func(map[string]any)) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var c map[string]any
	if err := yaml.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	base, err := filepath.Abs(filepath.Dir(from))
	if err != nil {
		return err
	}
	anchor(c, base)
	change(c)
	if text, err = yaml.Marshal(c); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return os.WriteFile(to, text, 0o600)
}

// anchor makes the names of files absolute, which are relative to the configuration.
func anchor(value any, base string) {
	switch v := value.(type) {
	case []any:
		for _, one := range v {
			anchor(one, base)
		}
	case map[string]any:
		for name, one := range v {
			if text, ok := one.(string); ok && namesFile(name) && text != "" && !filepath.IsAbs(text) {
				v[name] = filepath.Join(base, text)
			}
			anchor(one, base)
		}
	}
}

// namesFile reports whether a field's text is the name of a file; `path` is one of the
// memory's store alone, which several replicas do not have.
func namesFile(field string) bool {
	switch field {
	case "state", "file", "table", "ca", "client_ca", "cert", "key":
		return true
	}
	return strings.HasSuffix(field, "_file")
}
