package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/store"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const goodConfig = `
listen: 127.0.0.1:18080
admin: 127.0.0.1:18081
affinity: {default_expiration: 30m, cleanup_interval: 1m}
store: {memory: {}}
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "extproc.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func loadConfig(t *testing.T, file string) config.Extproc {
	t.Helper()
	cfg, err := config.LoadExtproc(file)
	if err != nil {
		t.Fatal(err)
	}
	return *cfg
}

// startApp runs an app on free ports, without an xds-server.
func startApp(t *testing.T, change ...func(*Options)) (a *App, logs *observer.ObservedLogs, stop func()) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	o := Options{Config: loadConfig(t, writeConfig(t, goodConfig)), Log: zap.New(core), DrainTimeout: time.Second}
	o.Config.Listen, o.Config.Admin, o.Config.XDS = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:1"
	for _, c := range change {
		c(&o)
	}
	a, err := New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	}
	return a, logs, stop
}

func get(t *testing.T, a *App, path string) (int, string) {
	t.Helper()
	res, err := http.Get("http://" + a.adminListener.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b.String()
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// healthOf is the health of callouts; that of the process as a whole is good.
func healthOf(t *testing.T, conn *grpc.ClientConn) healthv1.HealthCheckResponse_ServingStatus {
	t.Helper()
	health := healthv1.NewHealthClient(conn)
	r, err := health.Check(context.Background(), &healthv1.HealthCheckRequest{})
	if err != nil || r.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health of the process: %v, %v", r.GetStatus(), err)
	}
	r, err = health.Check(context.Background(), &healthv1.HealthCheckRequest{Service: extprocv3.ExternalProcessor_ServiceDesc.ServiceName})
	if err != nil {
		t.Fatal(err)
	}
	return r.GetStatus()
}

// awaitServing waits until callouts are answered, which Run says a moment after all that
// they need has come.
func awaitServing(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{Service: extprocv3.ExternalProcessor_ServiceDesc.ServiceName})
	if err != nil {
		t.Fatal(err)
	}
	for {
		switch r, err := stream.Recv(); {
		case err != nil:
			t.Fatalf("callouts are not answered: %v", err)
		case r.GetStatus() == healthv1.HealthCheckResponse_SERVING:
			return
		}
	}
}

func service() []wire.ServiceState {
	return []wire.ServiceState{{
		Service: statefulroute.Service{
			Name:      "chat",
			Session:   statefulroute.SessionPolicy{Key: []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "x-session-id"}}},
			Balancing: statefulroute.BalancingPolicy{Strategy: "home_hcl"},
		},
		Pods: []statefulroute.Pod{{Name: "chat-0", Address: mustAddr("127.0.0.1:9101"), Weight: 1}},
	}}
}

func TestReadyOnceServicesHaveCome(t *testing.T) {
	a, _, stop := startApp(t)
	defer stop()
	conn := dial(t, a.grpcListener.Addr().String())
	defer conn.Close()
	if code, body := get(t, a, "/readyz"); code != 503 || !strings.Contains(body, "xds-server") {
		t.Errorf("readyz before: %d %s", code, body)
	}
	if s := healthOf(t, conn); s != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health before: %v", s)
	}
	a.directory.Set(service(), true)
	awaitServing(t, conn)
	if code, body := get(t, a, "/readyz"); code != 200 {
		t.Errorf("readyz after: %d %s", code, body)
	}
	for _, path := range []string{"/healthz", "/metrics", "/api/v1/stats", "/api/v1/sessions"} {
		if code, _ := get(t, a, path); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func openStream(t *testing.T, conn *grpc.ClientConn) extprocv3.ExternalProcessor_ProcessClient {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(context.Background(), wire.ServiceMetadata, "chat")
	stream, err := extprocv3.NewExternalProcessorClient(conn).Process(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// keptServices is what an earlier process left in its state file.
const keptServices = `{"format": 1, "services": [{"name": "chat", "version": "a1", "assignment": "chat@1", "in_force": "chat@1",
	"policy": {"key": [{"kind": "header", "name": "x-session-id"}], "on_pod_loss": "rebind", "on_extproc_loss": "allow", "strategy": "home_hcl"}}],
	"assignments": [{"name": "chat@1", "pods": [{"name": "chat-0", "address": "127.0.0.1:9101", "weight": 1, "state": "ready"}]}]}`

func TestServesFromItsStateFileWhileXDSServerIsAway(t *testing.T) {
	file := filepath.Join(t.TempDir(), "services.json")
	if err := os.WriteFile(file, []byte(keptServices), 0o600); err != nil {
		t.Fatal(err)
	}
	minuteAgo := time.Now().Add(-time.Minute)
	if err := os.Chtimes(file, minuteAgo, minuteAgo); err != nil {
		t.Fatal(err)
	}
	a, _, stop := startApp(t, func(o *Options) { o.Config.State = file })
	defer stop()
	conn := dial(t, a.grpcListener.Addr().String())
	defer conn.Close()
	awaitServing(t, conn)
	callout(t, conn)
	for path, want := range map[string]string{
		"/readyz":       "xds-server does not answer",
		"/api/v1/stats": `"from_file": true`,
		"/metrics":      "stateful_route_xds_state_age_seconds 6",
	} {
		if code, body := get(t, a, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, want %q in %s", path, code, want, body)
		}
	}
}

// callout opens a stream, as Envoy does for a request, and has it decided.
func callout(t *testing.T, conn *grpc.ClientConn) extprocv3.ExternalProcessor_ProcessClient {
	t.Helper()
	stream := openStream(t, conn)
	err := stream.Send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: &extprocv3.HttpHeaders{}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return stream
}

// A request that was decided may go on for hours: Envoy is let go of it at once, and
// takes no harm.
func TestStopLetsGoOfDecidedRequests(t *testing.T) {
	a, _, stop := startApp(t, func(o *Options) { o.DrainTimeout = time.Minute })
	a.directory.Set(service(), true)
	conn := dial(t, a.grpcListener.Addr().String())
	defer conn.Close()
	stream := callout(t, conn)
	stop()
	if _, err := stream.Recv(); err == nil || err.Error() != "EOF" {
		t.Errorf("the request in flight ended with %v", err)
	}
	if err := a.ready(); err == nil {
		t.Error("ready while stopping")
	}
}

// A stream whose request never comes cannot be decided.
func TestStopIsBounded(t *testing.T) {
	a, _, stop := startApp(t, func(o *Options) { o.DrainTimeout = 10 * time.Millisecond })
	a.directory.Set(service(), true)
	conn := dial(t, a.grpcListener.Addr().String())
	defer conn.Close()
	callout(t, conn) // the connection is there
	stream := openStream(t, conn)
	stop()
	if _, err := stream.Recv(); err == nil || err.Error() == "EOF" {
		t.Errorf("the request that would not end: %v", err)
	}
}

// traced has the process export its traces to a collector.
func traced(t *testing.T) *harness.Collector {
	t.Helper()
	c := harness.StartCollector(t)
	for _, v := range c.Environment() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000") // only what the end exports
	return c
}

// A request that would not end takes all the time of the drain; its span is
// exported nevertheless.
func TestTracesOutliveTheDrain(t *testing.T) {
	collector := traced(t)
	a, _, stop := startApp(t, func(o *Options) { o.DrainTimeout = 10 * time.Millisecond })
	a.directory.Set(service(), true)
	conn := dial(t, a.grpcListener.Addr().String())
	defer conn.Close()
	callout(t, conn)
	stop()
	if spans := collector.Spans(func(s harness.Span) bool { return s.Name == "request" }); len(spans) != 1 {
		t.Errorf("%d spans of the request were exported, want 1", len(spans))
	}
}

func TestFailedStartLeavesNothingRunning(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Setenv("OTEL_TRACES_EXPORTER", "console")
	cfg := loadConfig(t, writeConfig(t, goodConfig))
	cfg.Listen = "127.0.0.1:99999"
	if _, err := New(context.Background(), Options{Config: cfg, Log: zap.NewNop()}); err == nil {
		t.Error("an address that cannot be was accepted")
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := loadConfig(t, writeConfig(t, goodConfig))
	cfg.Listen, cfg.Admin = "127.0.0.1:0", l.Addr().String()
	if _, err := New(context.Background(), Options{Config: cfg, Log: zap.NewNop()}); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want the address", err)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "extproc.sock")
	onSocket := func(o *Options) { o.Config.Listen = "unix:" + path }
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close() // as a killed process leaves it
	a, _, stop := startApp(t, onSocket)
	a.directory.Set(service(), true)
	conn := dial(t, "unix:"+path)
	awaitServing(t, conn)
	conn.Close()
	if _, err := listen(context.Background(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second process on the socket: %v", err)
	}
	stop()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(context.Background(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("another file at the path: %v", err)
	}
}

func TestStatsAreJSON(t *testing.T) {
	a, _, stop := startApp(t)
	defer stop()
	now := time.Now()
	if _, _, err := a.table.Claim("chat", "k", "chat-0", now); err != nil {
		t.Fatal(err)
	}
	a.table.Lookup("chat", "k", now)
	_, body := get(t, a, "/api/v1/stats")
	var s struct{ Cache tableJSON }
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if s.Cache.Hits != 1 || s.Cache.Inserts != 1 || s.Cache.Size != 1 || s.Cache.HitRate != 1 || s.Cache.Strategy != "lru" {
		t.Errorf("got %+v", s.Cache)
	}
}

func TestAdminAnswersToItsNames(t *testing.T) {
	a, _, stop := startApp(t, func(o *Options) { o.Config.AdminHosts = []string{"admin.example.com"} })
	defer stop()
	for host, want := range map[string]int{"admin.example.com": 200, "evil.example.com": 403} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.adminListener.Addr().String()+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("host %s: %d, want %d", host, res.StatusCode, want)
		}
	}
}

func mustAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestSessionsOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	withStore := func(o *Options) { o.Config.Store.Memory = &config.MemoryStore{Path: path} }
	a, _, stop := startApp(t, withStore)
	now := time.Now()
	for _, key := range []string{"a", "b"} {
		if _, _, err := a.table.Claim("chat", key, "chat-0", now); err != nil {
			t.Fatal(err)
		}
	}
	a.table.Delete("chat", "b")
	for range 5 {
		a.table.Lookup("chat", "a", now)
	}
	if _, err := New(context.Background(), a.opts); err == nil {
		t.Error("two processes on one store")
	}
	stop()
	b, logs, stop := startApp(t, withStore)
	defer stop()
	b.directory.Set(service(), true)
	if s, ok := b.table.Peek("chat", "a", now); !ok || s.Pod != "chat-0" || s.Requests != 6 {
		t.Errorf("after a restart the session is on %q, with %d requests of 6", s.Pod, s.Requests)
	}
	if _, ok := b.table.Peek("chat", "b", now); ok {
		t.Error("a deleted session came back")
	}
	if logs.FilterMessage("sessions restored").Len() != 1 {
		t.Error("the restore was not logged")
	}
	if _, body := get(t, b, "/api/v1/stats"); !strings.Contains(body, `"pending"`) {
		t.Errorf("the stats do not tell of the store: %s", body)
	}
}

func TestWhatIsNotRestoredLeavesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	now := time.Now()
	bindings := []statefulroute.Binding{
		{Service: "chat", Key: "recent", Pod: "chat-0", Created: now, LastSeen: now, Requests: 1},
		{Service: "chat", Key: "old", Pod: "chat-0", Created: now.AddDate(0, 0, -9), LastSeen: now.AddDate(0, 0, -8), Requests: 1},
	}
	s, _, err := store.Open(store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bindings {
		s.Put(b)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ended, nil); err != nil {
		t.Fatal(err)
	}
	a, logs, stop := startApp(t, func(o *Options) { o.Config.Store.Memory = &config.MemoryStore{Path: path} })
	a.directory.Set(service(), true)
	stop()
	if l := logs.FilterMessage("sessions restored").FilterField(zap.Int("found", 2)).FilterField(zap.Int("restored", 1)); l.Len() != 1 {
		t.Errorf("logged: %v", logs.All())
	}
	s, found, err := store.Open(store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(found.Bindings) != 1 || found.Bindings[0].Key != "recent" {
		t.Errorf("the file has %v, want the recent session alone", found.Bindings)
	}
}

func TestAnOperatorsDeletionIsExpedited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	a, _, stop := startApp(t, func(o *Options) { o.Config.Store.Memory = &config.MemoryStore{Path: path} })
	defer stop()
	var expedited []string
	e := a.memory()
	expedite := e.Expedite // the store's
	e.Expedite = func(service, key string) { expedite(service, key); expedited = append(expedited, service+"/"+key) }
	if _, _, err := a.table.Claim("chat", "a", "chat-0", time.Now()); err != nil {
		t.Fatal(err)
	}
	first, second := e.Delete(t.Context(), "chat", "a"), e.Delete(t.Context(), "chat", "b")
	if first != nil || !errors.Is(second, statefulroute.ErrGone) || !slices.Equal(expedited, []string{"chat/a"}) {
		t.Errorf("deleted: %v, then %v; expedited: %v", first, second, expedited)
	}
}

func TestAStoreThatCannotBeCreatedStopsTheStart(t *testing.T) {
	cfg := loadConfig(t, writeConfig(t, goodConfig))
	cfg.Listen, cfg.Admin = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Store.Memory.Path = filepath.Join(t.TempDir(), "no such folder", "pins.db")
	if _, err := New(context.Background(), Options{Config: cfg, Log: zap.NewNop()}); err == nil || !strings.Contains(err.Error(), cfg.Store.Memory.Path) {
		t.Errorf("got %v, want the path", err)
	}
}

func TestADamagedStoreIsNoReasonNotToStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	if err := os.WriteFile(path, []byte("not a database, but long enough to be looked at"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, logs, stop := startApp(t, func(o *Options) { o.Config.Store.Memory = &config.MemoryStore{Path: path} })
	stop()
	if logs.FilterLevelExact(zap.ErrorLevel).Len() != 1 {
		t.Errorf("the damage was not reported: %v", logs.All())
	}
	if aside, err := filepath.Glob(path + "*"); err != nil || len(aside) < 2 {
		t.Errorf("files %v (%v): the damaged one was not kept", aside, err)
	}
}
