package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/envoybin"
	"github.com/stateful-route/stateful-route/internal/extensions"
)

// samples writes the sample configuration with the replacements made.
func samples(t *testing.T, replace ...string) options {
	t.Helper()
	dir := t.TempDir()
	o := options{envoyAdmin: "127.0.0.1:9901", bin: dir, concurrency: 2, count: 1}
	for name, target := range map[string]*string{"xds-server.yaml": &o.xdsConfig, "extproc.yaml": &o.extprocConfig} {
		text, err := os.ReadFile(filepath.Join("..", "..", "envoy", name))
		if err != nil {
			t.Fatal(err)
		}
		*target = filepath.Join(dir, name)
		if err := os.WriteFile(*target, []byte(strings.NewReplacer(replace...).Replace(string(text))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func TestPlanOfTheSamples(t *testing.T) {
	p, err := newPlan(samples(t))
	if err != nil {
		t.Fatal(err)
	}
	specs, err := p.programs(t.TempDir(), envoybin.Binary{Path: "/usr/bin/envoy"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range specs {
		names = append(names, s.name)
	}
	if got := strings.Join(names, " "); got != "chat-0 chat-1 chat-2 xds-server extproc envoy" {
		t.Errorf("starts %s", got)
	}
	bootstrap, err := os.ReadFile(specs[5].args[1])
	if err != nil || !strings.Contains(string(bootstrap), "port_value: 18000") {
		t.Errorf("Envoy's bootstrap: %v\n%s", err, bootstrap)
	}
	if strings.Contains(string(bootstrap), "\n  metadata:") || specs[4].args[1] != p.extprocConfig {
		t.Errorf("a fast path without the module: %v\n%s", specs[4].args, bootstrap)
	}
	if n := len(p.endpoints()); n != 9 {
		t.Errorf("%d addresses are checked, want 9", n)
	}
}

// With the module extproc gets a copy of its configuration that names this run's table, and
// Envoy both.
func TestPlanWithTheModule(t *testing.T) {
	o := samples(t)
	if err := os.WriteFile(filepath.Join(o.bin, moduleFile), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := newPlan(o)
	if err != nil {
		t.Fatal(err)
	}
	shared := t.TempDir()
	if err := p.addFastPath(shared); err != nil {
		t.Fatal(err)
	}
	specs, err := p.programs(t.TempDir(), envoybin.Binary{Path: "/usr/bin/envoy"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadExtproc(specs[4].args[1])
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(shared, "table")
	if c.FastPath.Table != want || c.Store.Memory.Path != filepath.Join(filepath.Dir(o.extprocConfig), "pins.db") {
		t.Errorf("extproc's configuration: %+v, %+v", c.FastPath, c.Store.Memory)
	}
	bootstrap, err := os.ReadFile(specs[5].args[1])
	if line := "metadata: {stateful-route: {module: \"" + filepath.Join(o.bin, moduleFile) + "\", table: \"" + want + "\"}}"; err != nil || !strings.Contains(string(bootstrap), line) {
		t.Errorf("no %s in Envoy's bootstrap: %v\n%s", line, err, bootstrap)
	}
}

// A strategy that a build registers may be named in what `run` is given.
func TestPlanKnowsAStrategyOfOnesOwn(t *testing.T) {
	o := samples(t, "strategy: home_hcl", "strategy: mine")
	if _, err := newPlan(o); err == nil || !strings.Contains(err.Error(), `"mine" must be one of`) {
		t.Errorf("an unknown strategy: %v", err)
	}
	known := extensions.Set{Balancing: balancing.NewRegistry()}
	build := func(balancing.Options) (balancing.Strategy, error) { return nil, nil }
	if err := known.Balancing.Register("mine", build, balancing.Traits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := newPlan(o, known.Config()...); err != nil {
		t.Error(err)
	}
}

func TestPlanRefusesFilesThatDoNotFit(t *testing.T) {
	for want, replace := range map[string][]string{
		"listens on 127.0.0.1:18000": {"xds: 127.0.0.1:18000", "xds: 127.0.0.1:1"},
		"envoy.extproc.address is":   {"address: 127.0.0.1:18080", "address: 127.0.0.1:1"},
		"xds-server.yaml:":           {"strategy: home_hcl", "strategie: home_hcl"},
		"extproc.yaml:":              {"capacity: 1000000", "capacity: 0"},
	} {
		if _, err := newPlan(samples(t, replace...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v; want %q in it", replace, err, want)
		}
	}
}

func TestCheckNamesEveryPortInUse(t *testing.T) {
	var ports []any
	replace := []string{}
	for _, old := range []string{"0.0.0.0:10000", "127.0.0.1:9102"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
		replace = append(replace, old, l.Addr().String())
	}
	p, err := newPlan(samples(t, replace...))
	if err != nil {
		t.Fatal(err)
	}
	err = p.check()
	if err == nil {
		t.Fatal("no error")
	}
	var got []string
	for line := range strings.Lines(err.Error()) {
		got = append(got, strings.TrimSpace(line))
	}
	for _, want := range []string{
		"demo-pod is not in", "xds-server is not in", "extproc is not in",
		"port " + ports[0].(string) + ", for Envoy's listener, is in use: stop the program that has it, or change envoy.listener in " + p.xdsConfig,
		"port " + ports[1].(string) + ", for demo pod chat-1, is in use: stop the program that has it, or change pods.static in " + p.xdsConfig,
	} {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("no line of\n%v\nbegins with %q", err, want)
		}
	}
}

func TestCheckSeesASocketInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	e := endpoint{"unix:" + path, "extproc", "listen"}
	if err := e.check(); err != nil {
		t.Errorf("a socket that is not there: %v", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := e.check(); err == nil || !strings.Contains(err.Error(), "socket "+path+", for extproc, is in use") {
		t.Errorf("error %v", err)
	}
}

func TestURL(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:10000":    "http://127.0.0.1:10000/x",
		"[::]:10000":       "http://[::1]:10000/x",
		"10.1.2.3:80":      "http://10.1.2.3:80/x",
		"chat.internal:80": "http://chat.internal:80/x",
	} {
		if got := url(address, "/x"); got != want {
			t.Errorf("url(%s) = %s, want %s", address, got, want)
		}
	}
}

func TestAnyHost(t *testing.T) {
	for pattern, want := range map[string]string{"*": "", "*.example.com": "www.example.com", "example.com": "example.com"} {
		if got := anyHost(pattern); got != want {
			t.Errorf("anyHost(%s) = %q, want %q", pattern, got, want)
		}
	}
}
