package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/xds/discovery"
)

// Each *.bad.yml says in its first line what its refusal must read.
func TestBadFilesAreRefusedWithFileLineAndReason(t *testing.T) {
	loaders := map[string]func(string) error{
		"testdata/*.bad.yml":         func(f string) error { _, err := LoadXDSServer(f); return err },
		"testdata/extproc/*.bad.yml": func(f string) error { _, err := LoadExtproc(f); return err },
	}
	least := map[string]int{"testdata/*.bad.yml": 20, "testdata/extproc/*.bad.yml": 5}
	for glob, load := range loaders {
		files, _ := filepath.Glob(glob)
		if len(files) < least[glob] {
			t.Fatalf("%s: found %d files", glob, len(files))
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				err := load(file)
				if err == nil {
					t.Fatal("accepted")
				}
				got := strings.TrimPrefix(err.Error(), filepath.Dir(file)+"/")
				if want := wanted(t, file); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		}
	}
}

func wanted(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	return strings.TrimPrefix(first, "# want: ")
}

func TestFullFile(t *testing.T) {
	cfg, err := LoadXDSServer("testdata/full.yml")
	if err != nil {
		t.Fatal(err)
	}
	chat := cfg.Services[0]
	wantKeys := []statefulroute.SessionSource{
		{Kind: statefulroute.FromHeader, Name: "x-session-id"},
		{Kind: statefulroute.FromCookie, Name: "sid"},
		{Kind: statefulroute.FromQuery, Name: "session"},
		{Kind: statefulroute.FromPath, Name: "^/rooms/([^/]+)"},
		{Kind: sessionkey.FromJWT, Params: map[string]string{"header": "authorization", "claim": "sub"}},
		{Kind: sessionkey.FromJWT, Params: map[string]string{"header": "authorization", "claim": "sid"}},
		{Kind: statefulroute.FromHeader, Name: "mcp-session-id"},
		{Kind: statefulroute.FromCookie, Name: "stateful-route"},
	}
	if !reflect.DeepEqual(chat.Session.Key, wantKeys) {
		t.Errorf("keys, with what is learned and issued: %v", chat.Session.Key)
	}
	if !reflect.DeepEqual(chat.Hosts, []string{"chat.example.com", "*.chat.example.com"}) || chat.Prefix != "/v1" {
		t.Errorf("match: %v %v", chat.Hosts, chat.Prefix)
	}
	if p := chat.Pods.Static; len(p) != 2 || p[0].Weight != 3 || p[0].Zone != "a" || p[1].Weight != 1 || p[1].Name != "<script>" {
		t.Errorf("pods: %+v", p)
	}
	if c := *chat.Session.Issue; c != (statefulroute.IssuedCookie{Name: "stateful-route", TTL: 24 * time.Hour,
		SameSite: statefulroute.None, Domain: "chat.example.com", Path: "/", Partitioned: true}) {
		t.Errorf("issued cookie: %+v", c)
	}
	if want := []statefulroute.SessionEnd{{Method: "DELETE"}, {Method: "POST", Path: "/end$"}}; !reflect.DeepEqual(chat.Session.End, want) {
		t.Errorf("ends: %v", chat.Session.End)
	}
	if rooms := cfg.Services[1]; !chat.Session.EpochHeader || rooms.Session.EpochHeader {
		t.Errorf("epoch_header: %v, unless set %v", chat.Session.EpochHeader, rooms.Session.EpochHeader)
	}
	if rooms := cfg.Services[1]; chat.Session.FastPath || !rooms.Session.FastPath {
		t.Errorf("fast_path: %v, unless set %v", chat.Session.FastPath, rooms.Session.FastPath)
	}
	if h := chat.Health; !h.GRPCSet || h.GRPC != "" || h.Interval != 2*time.Second || h.UnhealthyAfter != 3 || h.HealthyAfter != 2 {
		t.Errorf("health check: %+v", h)
	}
	if chat.Protocol != statefulroute.GRPC || chat.Health.Host != "chat.internal:81" || chat.Health.Headers["authorization"] != "Bearer x" {
		t.Errorf("protocol: %v, health check: %+v", chat.Protocol, chat.Health)
	}
	if chat.ConnectionIdleTimeout != 1500*time.Millisecond {
		t.Errorf("connection idle timeout: %v", chat.ConnectionIdleTimeout)
	}
	if chat.StreamIdleTimeout != 0 || chat.RequestTimeout != 90*time.Second {
		t.Errorf("stream idle timeout: %v, request timeout: %v", chat.StreamIdleTimeout, chat.RequestTimeout)
	}
	if b := chat.Balancing; b.SlowStart != 0 || b.MaxConnections != 5 || b.MaxSessions != 6 || b.ResponseTimeWindow != 10*time.Second {
		t.Errorf("balancing: %+v", b)
	}
	if e := cfg.Envoy; len(e.Extproc.Addresses) != 2 || e.Extproc.MessageTimeout != 150*time.Millisecond || !e.DebugHeaders || e.TrustedHops != 1 || !e.HTTP10 || len(e.Listeners) != 2 {
		t.Errorf("envoy: %+v", e)
	}
	if got := cfg.Envoy.Tracing; got != (Tracing{OTLP: "127.0.0.1:4317", Sample: 12.5}) {
		t.Errorf("tracing: %+v", got)
	}
	if a := cfg.Analyzer; a.RealTime || !a.Historical || len(a.Rules) != 1 || a.Rules[0].Compare != analysis.Above || a.Rules[0].Threshold != .5 || a.Rules[0].For != 10*time.Second {
		t.Errorf("analyzer: %+v", a)
	}
}

// Files are named relative to the configuration, not to where a process was
// started: a second start from elsewhere must find the same bindings.
func TestFilesAreBesideTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "extproc.yaml")
	for path, want := range map[string]string{"pins.db": filepath.Join(dir, "pins.db"), "/var/lib/pins.db": "/var/lib/pins.db", `""`: ""} {
		if err := os.WriteFile(file, []byte("store: {memory: {path: "+path+"}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadExtproc(file)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Store.Memory.Path != want {
			t.Errorf("store.memory.path %s is %q, want %q", path, cfg.Store.Memory.Path, want)
		}
	}
	for path, want := range map[string]string{"table": filepath.Join(dir, "table"), "/tmp/table": "/tmp/table"} {
		if err := os.WriteFile(file, []byte("fast_path: {table: "+path+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadExtproc(file)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.FastPath.Table != want {
			t.Errorf("fast_path.table %s is %q, want %q", path, cfg.FastPath.Table, want)
		}
	}
	xds, err := LoadXDSServer("testdata/full.yml")
	if err != nil {
		t.Fatal(err)
	}
	if xds.State != filepath.Join("testdata", "orders.json") {
		t.Errorf("state is %q", xds.State)
	}
	if !reflect.DeepEqual(xds.AdminHosts, []string{"Admin.example.com"}) {
		t.Errorf("admin_hosts: %v", xds.AdminHosts)
	}
}

func TestDefaults(t *testing.T) {
	cfg, err := LoadXDSServer("testdata/full.yml")
	if err != nil {
		t.Fatal(err)
	}
	rooms := cfg.Services[1]
	if got := discovery.SourceName(rooms.Pods); got != "file "+filepath.Join("testdata", "pods.yaml") {
		t.Errorf("a pods file is named relative to its configuration: %q", got)
	}
	if rooms.Prefix != "/" || !reflect.DeepEqual(rooms.Hosts, []string{"*"}) ||
		rooms.Session.OnPodLoss != statefulroute.Rebind || rooms.Session.OnExtprocLoss != statefulroute.Allow ||
		rooms.Balancing.Strategy != DefaultStrategy || rooms.Balancing.SlowStart != 30*time.Second || rooms.ConnectionIdleTimeout != 4*time.Second ||
		rooms.StreamIdleTimeout != time.Hour || rooms.RequestTimeout != 0 || rooms.Protocol != statefulroute.HTTP1 {
		t.Errorf("service defaults: %+v", rooms)
	}
	file := filepath.Join(t.TempDir(), "extproc.yaml")
	if err := os.WriteFile(file, []byte("store: {memory: {}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadExtproc(file)
	if err != nil {
		t.Fatal(err)
	}
	want := &Extproc{
		Listen: "127.0.0.1:18080", Admin: "127.0.0.1:18081", XDS: "127.0.0.1:18000",
		Affinity: Affinity{Strategy: "lru", Capacity: 1_000_000, DefaultExpiration: 30 * time.Minute, CleanupInterval: time.Minute},
		Store:    Store{Memory: &MemoryStore{Sync: time.Second}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("extproc defaults: %+v", got)
	}
}

// Pods are probed unless somebody says that they are not to be.
func TestPodsAreProbedUnlessTold(t *testing.T) {
	tcp := &statefulroute.HealthCheck{TCP: true, Interval: time.Second, Timeout: 500 * time.Millisecond, UnhealthyAfter: 2, HealthyAfter: 1}
	for text, want := range map[string]*statefulroute.HealthCheck{
		"":                           tcp,
		"health_check: null":         tcp,
		"health_check: {tcp: true}":  tcp,
		"health_check: {none: true}": nil,
	} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(file, []byte("services: [{name: chat, pods: {static: []}, "+text+"}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadXDSServer(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Services[0].Health; !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func TestTheStoreIsSyncedEverySecondUnlessTold(t *testing.T) {
	for text, want := range map[string]MemoryStore{
		"{path: /v/pins.db}":              {Path: "/v/pins.db", Sync: time.Second},
		"{path: /v/pins.db, sync: 100ms}": {Path: "/v/pins.db", Sync: 100 * time.Millisecond},
		"{path: /v/pins.db, sync: 0s}":    {Path: "/v/pins.db"},
	} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(file, []byte("store: {memory: "+text+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadExtproc(file)
		if err != nil {
			t.Fatal(err)
		}
		if *cfg.Store.Memory != want {
			t.Errorf("%q: %+v, want %+v", text, *cfg.Store.Memory, want)
		}
	}
}

func TestTracingSamplesEverythingUnlessTold(t *testing.T) {
	for text, want := range map[string]Tracing{
		"": {},
		"envoy: {tracing: {otlp: '127.0.0.1:4317'}}\n":            {OTLP: "127.0.0.1:4317", Sample: 100},
		"envoy: {tracing: {otlp: '127.0.0.1:4317', sample: 0}}\n": {OTLP: "127.0.0.1:4317"},
	} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(file, []byte(text+"services: [{name: chat, pods: {static: []}}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadXDSServer(file)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Envoy.Tracing != want {
			t.Errorf("%q: %+v, want %+v", text, cfg.Envoy.Tracing, want)
		}
	}
}

func TestEveryFaultIsReported(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	text := "listen: nowhere\nservices:\n  - name: chat\n    pods: {static: [{name: a, address: b}, {name: a, address: '1.2.3.4:0'}]}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadXDSServer(file)
	if err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("want four faults, got: %v", err)
	}
}

func TestCustomStrategyNames(t *testing.T) {
	strategies := balancing.NewRegistry()
	build := func(balancing.Options) (balancing.Strategy, error) { return nil, nil }
	if err := strategies.Register("fastest", build, balancing.Traits{FixedWeights: true}); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadXDSServer("testdata/strategy.bad.yml", WithStrategies(strategies))
	if err != nil {
		t.Fatal(err)
	}
	if b := cfg.Services[0].Balancing; b.Strategy != "fastest" || !b.FixedWeights {
		t.Errorf("balancing: %+v", b)
	}
	if _, err := LoadExtproc("testdata/extproc/strategy.bad.yml", WithEvictionStrategies("arc")); err != nil {
		t.Error(err)
	}
}

// list is a source of one's own, which has a fault in its configuration or pods in it.
type list struct {
	Pods []string `yaml:"pods" is:"a list of pods|[chat-0]"`
}

func (l *list) String() string { return "list " + strings.Join(l.Pods, ",") }
func (*list) Written() bool    { return true }
func (l *list) Check(doc *strictyaml.Document, at strictyaml.Path) {
	if len(l.Pods) == 0 {
		doc.Refuse(at.With("pods"), "at least one is needed")
	}
}
func (*list) NewDiscoverer(discovery.Options) discovery.Discoverer { return nil }

func TestAPodSourceOfOnesOwn(t *testing.T) {
	kinds := discovery.NewRegistry()
	if err := kinds.Register(discovery.Kind{Name: "list", Config: func() discovery.Config { return new(list) }}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"{list: {pods: [a, b]}}":       "",
		"{list: {pods: []}}":           "FILE:3: services[0].pods.list.pods: at least one is needed",
		"{list: {pod: [a]}}":           "FILE:3: services[0].pods.list.pod: unknown field, known are pods",
		"{list: {pods: a}}":            "FILE:3: services[0].pods.list.pods: a list of pods is needed, such as [chat-0]",
		"{list: {pods: [a]}, dns: {}}": "FILE:3: services[0].pods: exactly one of static, file, dns, http, kubernetes and list is needed, found 2",
	} {
		file := filepath.Join(t.TempDir(), "x.yaml")
		if err := os.WriteFile(file, []byte("services:\n  - name: chat\n    pods: "+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadXDSServer(file, WithPodSources(kinds))
		switch {
		case want == "" && (err != nil || discovery.SourceName(cfg.Services[0].Pods) != "list a,b" || cfg.Services[0].Pods.Hold != 30*time.Second):
			t.Errorf("%s: %+v, %v", text, cfg, err)
		case want != "" && (err == nil || strings.ReplaceAll(err.Error(), file, "FILE") != want):
			t.Errorf("%s: %v", text, err)
		}
		if _, err := LoadXDSServer(file); err == nil {
			t.Errorf("%s: taken without its kind", text)
		}
	}
}

// A metric of the analyzer is one of the configuration.
func TestARuleMayWatchEveryMetric(t *testing.T) {
	file := filepath.Join(t.TempDir(), "xds-server.yaml")
	for _, m := range analysis.Metrics() {
		text := "services: [{name: chat, pods: {static: []}}]\nanalyzer: {rules: [{name: Mine, metric: " + string(m) + ", below: 2, severity: critical}]}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadXDSServer(file)
		if err != nil {
			t.Fatal(err)
		}
		want := []analysis.Rule{{Name: "Mine", Metric: m, Compare: analysis.Below, Threshold: 2, Severity: analysis.Critical}}
		if !reflect.DeepEqual(cfg.Analyzer.Rules, want) {
			t.Errorf("rules %+v, want %+v", cfg.Analyzer.Rules, want)
		}
	}
}
