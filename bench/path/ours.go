package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stateful-route/stateful-route/envoy"
)

// ours is the start of xds-server, extproc and an Envoy of ours, with a table that has room for
// the sessions. fast: with the module, where there is one.
func ours(sessions int, fast bool) starter {
	return func(_ context.Context, b *bench, f *front) error {
		o := oursConfig{pods: f.pods, sessions: sessions, dir: filepath.Join(b.dir, f.name)}
		if err := os.Mkdir(o.dir, 0o755); err != nil {
			return err
		}
		addresses, err := freeAddresses(5)
		if err != nil {
			return err
		}
		o.listener, o.xds, o.xdsAdmin, o.admin, o.envoyAdmin = addresses[0], addresses[1], addresses[2], addresses[3], addresses[4]
		if fast && b.module != "" {
			shm, err := b.sharedMemory()
			if err != nil {
				return err
			}
			f.module = true
			o.module, o.table = b.module, filepath.Join(shm, f.name)
		}
		f.addresses, f.admin = [3]string{1: o.listener, 2: o.listener}, o.admin
		return b.startOurs(f, o)
	}
}

func (b *bench) startOurs(f *front, o oursConfig) error {
	bootstrap, err := o.bootstrap()
	if err != nil {
		return err
	}
	files := map[string]string{}
	for name, text := range map[string]string{"xds.yaml": o.xdsServer(), "extproc.yaml": o.extproc(), "bootstrap.yaml": bootstrap} {
		if files[name], err = b.write(f, name, text); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		program, file string
		role          role
	}{{"xds-server", "xds.yaml", control}, {"extproc", "extproc.yaml", callout}} {
		// Each move by an operator is a line at level info.
		p, err := b.start(f.name+"-"+s.program, s.role, filepath.Join(b.bin, s.program), "--config", files[s.file], "--log-level", "warn")
		if err != nil {
			return err
		}
		f.processes = append(f.processes, p)
	}
	return b.startEnvoy(f, files["bootstrap.yaml"])
}

// noteModule says of each set-up with the module how many requests it answered itself, and which asked:
// one that Envoy does not use would otherwise look like a slow one.
func (b *bench) noteModule(ctx context.Context) {
	for _, name := range slices.Sorted(maps.Keys(b.fronts)) {
		f := b.fronts[name]
		if !f.module {
			continue
		}
		of, err := f.metrics(ctx, "stateful_route_fast_path_requests_total")
		hits, unkeyed := of[`{result="hit"}`], of[`{result="unkeyed"}`]
		note := fmt.Sprintf("%s: the module sent %.0f requests to their pods and %.0f without a session to any, and left %.0f to extproc, of which %.0f had none",
			name, hits, unkeyed, sum(of)-hits-unkeyed-of[`{result="again"}`], of[`{result="no_key"}`])
		if err != nil || hits == 0 && f.owners != nil {
			note = fmt.Sprintf("**%s: the module is not in use** (%v)", name, err)
		}
		b.notes = append(b.notes, note)
	}
}

func sum(of map[string]float64) (all float64) {
	for _, v := range of {
		all += v
	}
	return all
}

// metrics are the series of extproc's that have a name, by their labels.
func (f *front) metrics(ctx context.Context, name string) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.admin+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	of, lines := map[string]float64{}, bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			labels, value, _ := strings.Cut(rest, " ")
			if of[labels], err = strconv.ParseFloat(value, 64); err != nil {
				return nil, err
			}
		}
	}
	return of, lines.Err()
}

// sharedMemory is a folder of this run's in the file system in memory.
func (b *bench) sharedMemory() (string, error) {
	if b.shm == "" {
		var err error
		if b.shm, err = os.MkdirTemp("/dev/shm", "bench-path-"); err != nil {
			return "", err
		}
	}
	return b.shm, nil
}

// oursConfig is what our files say.
type oursConfig struct {
	listener, xds, xdsAdmin, admin, envoyAdmin string
	dir                                        string
	pods                                       []string
	sessions                                   int
	module, table                              string // empty: all goes by extproc
}

// xdsServer has a service for each kind of request. Those of chat name their session, in any of
// four places. Many pods are looked at more seldom, so that it takes no more of the machine.
// Connections stay while other rows are measured, as those of plain Envoy do.
func (o oursConfig) xdsServer() string {
	var pods []string
	for i, p := range o.pods {
		pods = append(pods, fmt.Sprintf("{name: %s%d, address: %q}", podPrefix, i, p))
	}
	service := func(name, prefix, session string) string {
		return fmt.Sprintf(`
- name: %s
  match: {hosts: ["*"], prefix: %s}
  session:
    idle_timeout: 24h
%s  pods: {static: [%s]}
  connection_idle_timeout: 1h
  health_check: {http: /healthz, interval: %ds, timeout: 500ms, unhealthy_after: 3, healthy_after: 1}`,
			name, prefix, session, strings.Join(pods, ", "), 1+len(o.pods)/50)
	}
	key := `    key: [{header: x-session-id}, {cookie: sid}, {query: session}, {path: "^/rooms/([^/]+)"}]
`
	return fmt.Sprintf("listen: %s\nadmin: %s\nenvoy: {listener: %s, extproc: {address: %q, message_timeout: 5s}}\nservices:", o.xds, o.xdsAdmin, o.listener, o.socket()) +
		service("learn", "/learn", "    key: [{header: mcp-session-id}]\n    learn: [{header: mcp-session-id}]\n") +
		service("issue", "/issue", "    issue: {cookie: stateful-route, ttl: 24h}\n") +
		service("chat", "/", key) + "\n"
}

func (o oursConfig) socket() string { return "unix:" + o.dir + "/s" }

// extproc keeps bindings in a file, as the sample does.
func (o oursConfig) extproc() string {
	text := fmt.Sprintf("listen: %q\nadmin: %s\nxds: %s\nstate: %s/services.json\naffinity: {capacity: %d}\nstore: {memory: {path: %s/pins.db}}\n",
		o.socket(), o.admin, o.xds, o.dir, 2*o.sessions+1_000_000, o.dir)
	if o.table != "" {
		text += fmt.Sprintf("fast_path: {table: %s}\n", o.table)
	}
	return text
}

func (o oursConfig) bootstrap() (string, error) {
	b, err := envoy.Bootstrap(envoy.BootstrapOptions{NodeID: "bench", XDS: o.xds, Admin: o.envoyAdmin, Module: o.module, Table: o.table})
	return string(b), err
}
