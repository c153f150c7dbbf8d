package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/envoybin"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

// replicated is the plan of several extprocs, and what it starts.
func replicated(t *testing.T, o options, n int) (*plan, []spec) {
	t.Helper()
	if _, err := redistest.Find(); err != nil {
		t.Skip(err)
	}
	o.count = n
	p, err := newPlan(o)
	if err != nil {
		t.Fatal(err)
	}
	specs, err := p.programs(t.TempDir(), envoybin.Binary{Path: "/usr/bin/envoy"})
	if err != nil {
		t.Fatal(err)
	}
	return p, specs
}

func TestPlanOfReplicas(t *testing.T) {
	o := samples(t, "# state: /var/lib/stateful-route/state.db", "state: orders.db", "address: 127.0.0.1:18080", "address: [127.0.0.1:18080, 127.0.0.1:18090]")
	p, specs := replicated(t, o, 3)
	var names []string
	files := map[string]string{}
	for _, s := range specs {
		names = append(names, s.name)
		if i := slices.Index(s.args, "--config"); i >= 0 {
			files[s.name] = s.args[i+1]
		}
	}
	if got := strings.Join(names, " "); got != "chat-0 chat-1 chat-2 store xds-server extproc-0 extproc-1 extproc-2 envoy" {
		t.Fatalf("starts %s", got)
	}
	xds, err := config.LoadXDSServer(files["xds-server"])
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(filepath.Dir(o.xdsConfig), "orders.db"); xds.State != want {
		t.Errorf("orders are kept in %s, want %s", xds.State, want)
	}
	var listens, admins, states []string
	for _, name := range names[5:8] {
		c, err := config.LoadExtproc(files[name])
		if err != nil {
			t.Fatal(err)
		}
		listens, admins, states = append(listens, c.Listen), append(admins, c.Admin), append(states, c.State)
		if c.Store.Valkey == nil || !slices.Equal(c.Store.Valkey.Addresses, []string{p.store.address}) {
			t.Errorf("%s has the store %+v", name, c.Store)
		}
	}
	if !slices.Equal(xds.Envoy.Extproc.Addresses, listens) {
		t.Errorf("Envoy asks %v, the replicas listen on %v", xds.Envoy.Extproc.Addresses, listens)
	}
	if listens[0] != "127.0.0.1:18080" || listens[1] != "127.0.0.1:18090" || admins[0] != "127.0.0.1:18081" {
		t.Errorf("they listen on %v and %v", listens, admins)
	}
	for _, all := range [][]string{listens, admins, states} {
		if slices.Sort(all); len(slices.Compact(all)) != 3 {
			t.Errorf("not each has its own: %v", all)
		}
	}
	if !slices.ContainsFunc(p.endpoints(), func(e endpoint) bool { return e.address == "127.0.0.1:18090" }) {
		t.Error("the second replica's address is not checked")
	}
}

// A store of one's own is taken, and needs no server here.
func TestReplicasWithAStoreOfOnesOwn(t *testing.T) {
	o := samples(t, "memory: {path: pins.db}", "valkey: {addresses: [db:6379]}")
	t.Setenv("PATH", t.TempDir())
	o.count = 2
	p, err := newPlan(o)
	if err != nil {
		t.Fatal(err)
	}
	specs, err := p.routers(t.TempDir())
	if err != nil || len(specs) != 3 || p.store != nil {
		t.Errorf("starts %v, %v", specs, err)
	}
	c, err := config.LoadExtproc(specs[2].args[1])
	if err != nil || !slices.Equal(c.Store.Valkey.Addresses, []string{"db:6379"}) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestReplicasWithoutAServerSayWhatToInstall(t *testing.T) {
	o := samples(t)
	t.Setenv("PATH", t.TempDir())
	if _, err := newPlan(o); err != nil {
		t.Errorf("one extproc needs none: %v", err)
	}
	o.count = 2
	if _, err := newPlan(o); err == nil || !strings.Contains(err.Error(), "apt-get install redis-server") {
		t.Errorf("it says %v", err)
	}
	o.count = 0
	if _, err := newPlan(o); err == nil || !strings.Contains(err.Error(), "at least one") {
		t.Errorf("it says %v", err)
	}
}

// The files that a configuration names are relative to it, also in its copy.
func TestACopyNamesTheSameFiles(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a.yaml"), filepath.Join(t.TempDir(), "b.yaml")
	text := "state: s.db\ntls: {cert: c.pem, key: /k.pem}\nservices:\n  - {session: {key: [{header: x}]}, pods: {file: p.yaml}, match: {prefix: /x}}\n"
	if err := os.WriteFile(from, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(from, to, func(map[string]any) {}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"state: " + dir + "/s.db\n", "cert: " + dir + "/c.pem\n", "key: /k.pem\n", "file: " + dir + "/p.yaml\n", "prefix: /x\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
