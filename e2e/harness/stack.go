package harness

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/envoy"
)

// Options is what differs between the stacks of two tests. The zero value is
// one service with three pods of equal weight and a delta Envoy.
type Options struct {
	// Services default to Chat(3). Pods without an address get a demo pod.
	Services []Service
	// StateOfTheWorld gives Envoy the older xDS variant.
	StateOfTheWorld bool
	// Affinity and Store are the sections of extproc's configuration; by default
	// bindings are kept in a file of the test's.
	Affinity, Store map[string]any
	// Extprocs are the replicas of extproc, by the kind of address at which each
	// listens; one at TCP by default. Each has a configuration, and in it bindings,
	// of its own unless Store says otherwise.
	Extprocs []Network
	// SessionAffinity has Envoy ask one replica about all of a session's requests.
	SessionAffinity bool
	// DebugHeaders adds the pod's name to responses.
	DebugHeaders bool
	// MessageTimeout bounds one answer of extproc; 2s by default, as the machine
	// that runs the tests may be slow, and 10s under the race detector.
	MessageTimeout string
	// Env are variables, NAME=VALUE, of xds-server and extproc.
	Env []string
	// Tracing and Analyzer are those sections of xds-server's configuration.
	Tracing  *Tracing
	Analyzer map[string]any
	// TrustedHops and HTTP10 are of xds-server's configuration, too.
	TrustedHops int
	HTTP10      bool
	// FastPath has Envoy answer for known sessions by itself. Module is the file that Envoy
	// is told to load for it; the one that is built by default.
	FastPath FastPath
	Module   string
	// Certificates are those of a second listener, which speaks TLS; see TLSAddress.
	Certificates []Certificate
}

// Network is a kind of address.
type Network int

// The kinds: a port of this machine, and a socket in the file system.
const (
	TCP Network = iota
	Unix
)

// Replica is one extproc of a stack.
type Replica struct {
	*Process
	// Address is where Envoy finds it, as in the configuration.
	Address string
	// Admin is the URL of its admin API, without a path.
	Admin string
}

// Stack is a running whole. Its processes are stopped at the end of the test.
type Stack struct {
	// URL is the root of the first service, through Envoy.
	URL string
	// TLSAddress is where Envoy speaks TLS; empty where it has no certificates.
	TLSAddress string
	// EnvoyAdmin, XDSAdmin and ExtprocAdmin, that of the first replica, are URLs
	// without a path.
	EnvoyAdmin, XDSAdmin, ExtprocAdmin string

	XDS, Extproc, Envoy *Process // Extproc is the first replica
	Replicas            []Replica
	Pods                map[string]*Process // by name

	// Table is the file that extproc shares with Envoy; empty where there is no fast path.
	Table string

	config     Config
	configFile string
	programs   Programs
	env        []string
	sharing    sharing
	client     *http.Client
}

// Start starts a stack and returns when a request was served through it.
func Start(t testing.TB, programs Programs, o Options) *Stack {
	t.Helper()
	dir := t.TempDir()
	s := &Stack{
		Pods: map[string]*Process{}, config: o.config(t), configFile: filepath.Join(dir, "xds-server.yaml"),
		programs: programs, env: o.Env, sharing: o.sharing(t, programs), client: newClient(),
	}
	s.Table = s.sharing.table
	t.Cleanup(s.client.CloseIdleConnections)
	s.startPods(t)
	s.config.write(t, s.configFile)
	s.XDS = s.program(t, "xds-server", "--config", s.configFile)
	for i, address := range s.config.Envoy.Extproc.Address {
		s.Replicas = append(s.Replicas, s.startExtproc(t, fmt.Sprintf("extproc-%d", i), address, o))
	}
	s.Extproc, s.ExtprocAdmin = s.Replicas[0].Process, s.Replicas[0].Admin
	s.startEnvoy(t, dir, o)
	s.URL = "http://" + s.config.Envoy.Listener[0].Address + "/"
	if len(o.Certificates) > 0 {
		s.TLSAddress = s.config.Envoy.Listener[1].Address
	}
	s.XDSAdmin = "http://" + s.config.Admin
	s.WaitReady(t)
	return s
}

func messageTimeout() string {
	if Race() {
		return "10s"
	}
	return "2s"
}

// config is xds-server's configuration, with addresses of its own.
func (o Options) config(t testing.TB) Config {
	t.Helper()
	c := Config{
		Listen: Address(t), Admin: Address(t), Services: o.Services, Analyzer: o.Analyzer,
		Envoy: EnvoyConfig{
			Listener: []Listener{{Address: Address(t)}}, TLS: o.Certificates, DebugHeaders: o.DebugHeaders, Tracing: o.Tracing,
			TrustedHops: o.TrustedHops, HTTP10: o.HTTP10,
			Extproc: Extproc{MessageTimeout: cmp.Or(o.MessageTimeout, messageTimeout()), SessionAffinity: o.SessionAffinity},
		},
	}
	if c.Services == nil {
		c.Services = []Service{Chat(3)}
	}
	if len(o.Certificates) > 0 {
		c.Envoy.Listener = []Listener{{Address: Address(t), Plain: true}, {Address: Address(t)}}
	}
	if o.Extprocs == nil {
		o.Extprocs = []Network{TCP}
	}
	for i, network := range o.Extprocs {
		address := Address(t)
		if network == Unix {
			address = fmt.Sprintf("unix:%s/%d", shortDir(t), i)
		}
		c.Envoy.Extproc.Address = append(c.Envoy.Extproc.Address, address)
	}
	return c
}

// shortDir is a folder for sockets, whose paths have 107 bytes at most: that of a
// test with a long name is too deep.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "") //nolint:usetesting // its name is the test's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Reconnect has the next requests open new connections.
func (s *Stack) Reconnect() { s.client.CloseIdleConnections() }

// newClient allows the tests' concurrency without opening a connection for
// every request.
func newClient() *http.Client {
	return &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 512},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

func (s *Stack) program(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	return newProcess(t, s.env, name, filepath.Join(s.programs.Dir, name), args...)
}

// Routectl starts the operator's program against this stack. ExitCode waits for
// its end, and Log has what it printed. It is told of all replicas.
func (s *Stack) Routectl(t testing.TB, args ...string) *Process {
	t.Helper()
	args = append(args, "--xds-admin", s.XDSAdmin)
	for _, r := range s.Replicas {
		args = append(args, "--extproc-admin", r.Admin)
	}
	return s.program(t, "routectl", args...)
}

// startPods gives every pod without an address a demo pod of its own, and returns when
// they listen: a request that Envoy sends earlier would fail.
func (s *Stack) startPods(t testing.TB) {
	t.Helper()
	var started []Pod
	for _, svc := range s.config.Services {
		for i := range svc.Pods.Static {
			pod := &svc.Pods.Static[i]
			if pod.Address == "" {
				pod.Address = Address(t)
				s.Pods[pod.Name] = NewProcess(t, pod.Name, filepath.Join(s.programs.Dir, "demo-pod"), "--name", pod.Name, "--listen", pod.Address)
				started = append(started, *pod)
			}
		}
	}
	for _, pod := range started {
		Eventually(t, Patience, pod.Name+" listens", func() error {
			c, err := net.Dial("tcp", pod.Address)
			if err == nil {
				err = c.Close()
			}
			return err
		})
	}
}

func (s *Stack) startExtproc(t testing.TB, name, address string, o Options) Replica {
	t.Helper()
	adminAddress, dir := Address(t), t.TempDir()
	cfg := map[string]any{
		"listen": address, "admin": adminAddress, "xds": s.config.Listen, "state": "services.json",
		"store": map[string]any{"memory": map[string]any{"path": filepath.Join(dir, "pins.db")}},
	}
	if s.Table != "" && len(s.Replicas) == 0 { // a table has one writer
		cfg["fast_path"] = map[string]any{"table": s.Table}
	}
	if o.Store != nil {
		cfg["store"] = o.Store
	}
	if o.Affinity != nil {
		cfg["affinity"] = o.Affinity
	}
	file := filepath.Join(dir, "extproc.yaml")
	writeYAML(t, file, cfg)
	return Replica{newProcess(t, s.env, name, filepath.Join(s.programs.Dir, "extproc"), "--config", file), address, "http://" + adminAddress}
}

func (s *Stack) startEnvoy(t testing.TB, dir string, o Options) {
	t.Helper()
	adminAddress := Address(t)
	bootstrap, err := envoy.Bootstrap(envoy.BootstrapOptions{
		NodeID: "e2e", XDS: s.config.Listen, Admin: adminAddress, StateOfTheWorld: o.StateOfTheWorld,
		Module: s.sharing.module, Table: s.sharing.table,
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bootstrap.yaml")
	if err := os.WriteFile(file, bootstrap, 0o644); err != nil {
		t.Fatal(err)
	}
	s.EnvoyAdmin = "http://" + adminAddress
	s.Envoy = NewProcess(t, "envoy", s.programs.Envoy, "--config-path", file, "--disable-hot-restart", "--log-level", "warning", "--concurrency", "2")
}

// WaitReady returns when all parts are ready, Envoy has seen it of the replicas, and
// a request was served. It fails
// the test at once when a part has ended; replicas but the first may have.
func (s *Stack) WaitReady(t testing.TB) {
	t.Helper()
	type part struct{ what, url string }
	parts := []part{{"xds-server", s.XDSAdmin + "/readyz"}}
	for _, r := range s.Replicas {
		if r.Running() {
			parts = append(parts, part{r.Name, r.Admin + "/readyz"})
		}
	}
	for _, part := range append(parts, part{"Envoy", s.EnvoyAdmin + "/ready"}) {
		Eventually(t, Patience, part.what+" is ready", func() error {
			s.mustRun(t)
			_, err := Body(part.url)
			return err
		})
	}
	for _, r := range s.Replicas {
		if r.Running() {
			Eventually(t, Patience, "Envoy asks "+r.Name, s.AsksReplica(r, true))
		}
	}
	Eventually(t, Patience, "a request is served", func() error {
		s.mustRun(t)
		_, err := s.OK()
		return err
	})
}

func (s *Stack) mustRun(t testing.TB) {
	t.Helper()
	for _, p := range []*Process{s.XDS, s.Extproc, s.Envoy} {
		if !p.Running() {
			t.Fatalf("%s ended by itself, exit code %d", p.Name, p.ExitCode())
		}
	}
}

// PodAddress is the address of a pod in the configuration.
func (s *Stack) PodAddress(t testing.TB, name string) string {
	t.Helper()
	for _, svc := range s.config.Services {
		for _, p := range svc.Pods.Static {
			if p.Name == name {
				return p.Address
			}
		}
	}
	t.Fatal(fmt.Errorf("no pod %q", name))
	return ""
}
