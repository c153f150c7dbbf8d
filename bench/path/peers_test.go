package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/envoybin"
)

func testPods() []string { return []string{"127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"} }

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// check has a program look at its configuration.
func check(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
}

func TestEnvoyTakesTheConfigurations(t *testing.T) {
	t.Parallel()
	found, err := envoybin.Find(t.Context(), envoybin.FindOptions{Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]staticEnvoy{
		"plain":     {},
		"cookie":    {Filters: cookieFilter},
		"ring hash": {Route: ringRoute, Cluster: ringCluster},
		"no-op":     {Filters: noopFilters, Clusters: strings.Replace(noopCluster, "SOCKET", "/tmp/s", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e.Listener, e.Pods = "127.0.0.1:10000", testPods()
			text, err := e.text()
			if err != nil {
				t.Fatal(err)
			}
			check(t, found.Path, "--mode", "validate", "--log-level", "warning", "--config-path", writeFile(t, "envoy.yaml", text))
		})
	}
}

func TestPeersTakeTheConfigurations(t *testing.T) {
	t.Parallel()
	addresses, dir := [3]string{1: "127.0.0.1:10001", 2: "127.0.0.1:10002"}, t.TempDir()
	for _, c := range []struct {
		name, program, text string
		args                []string
	}{
		{"plain", "haproxy", haproxyText(addresses, testPods(), ""), []string{"-c", "-f"}},
		{"stick-table", "haproxy", haproxyText(addresses, testPods(), stickTable), []string{"-c", "-f"}},
		{"hash", "nginx", nginxText(addresses, testPods(), dir), []string{"-t", "-c"}},
	} {
		t.Run(c.program+" "+c.name, func(t *testing.T) {
			t.Parallel()
			path, err := lookPath(c.program)
			if err != nil {
				t.Skipf("%v: bench/path/install.sh installs it", err)
			}
			check(t, path, append(c.args, writeFile(t, "conf", c.text))...)
		})
	}
}

func TestOursTakeTheConfigurations(t *testing.T) {
	t.Parallel()
	for name, module := range map[string]string{"with the module": "/lib/libstateful_route.so", "without": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := oursConfig{
				listener: "127.0.0.1:10000", xds: "127.0.0.1:18000", xdsAdmin: "127.0.0.1:18001", admin: "127.0.0.1:18081", envoyAdmin: "127.0.0.1:9901",
				dir: t.TempDir(), pods: testPods(), sessions: 1000, module: module,
			}
			if module != "" {
				o.table = filepath.Join(o.dir, "table")
			}
			x, err := config.LoadXDSServer(writeFile(t, "xds.yaml", o.xdsServer()))
			if err != nil {
				t.Fatal(err)
			}
			if len(x.Services) != 3 || len(x.Services[2].Session.Key) != 4 || len(x.Services[2].Pods.Static) != len(testPods()) {
				t.Errorf("services are %+v", x.Services)
			}
			if _, err := config.LoadExtproc(writeFile(t, "extproc.yaml", o.extproc())); err != nil {
				t.Error(err)
			}
			text, err := o.bootstrap()
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(text, "\n  metadata: {stateful-route: {module: ") != (module != "") {
				t.Errorf("the bootstrap says\n%s", text)
			}
		})
	}
}

func headersOf(name, value string) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{
		Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: name, RawValue: []byte(value)}}},
	}}}
}
