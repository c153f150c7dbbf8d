package envoy

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/internal/envoybin"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestBootstrapIsTheCommittedFile(t *testing.T) {
	got, err := Bootstrap(BootstrapOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("bootstrap.yaml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("bootstrap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("bootstrap.yaml is not what Bootstrap renders; go test ./envoy -update, and look at the difference")
	}
}

func TestBootstrapRefusesWhatWouldBreakTheFile(t *testing.T) {
	for want, o := range map[string]BootstrapOptions{
		"node id":                     {NodeID: "a: b"},
		"xds address":                 {XDS: "somewhere"},
		"is no host":                  {XDS: "a\"b:1"},
		"port":                        {XDS: "127.0.0.1:65536"},
		"admin address":               {Admin: "localhost:9901"},
		"must be absolute paths":      {Module: "lib.so", Table: "/dev/shm/table"},
		"and table \"\"":              {Module: "/lib.so"},
		"max connections is negative": {MaxConnections: -1},
	} {
		if _, err := Bootstrap(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v; want %q in it", o, err, want)
		}
	}
}

func TestEnvoyAcceptsTheBootstrap(t *testing.T) {
	bin, err := envoybin.Find(context.Background(), envoybin.FindOptions{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]BootstrapOptions{
		"delta":              {},
		"state of the world": {StateOfTheWorld: true, NodeID: "edge/7", Admin: "[::1]:0"},
		"by host name":       {XDS: "xds.example.internal:18000"},
		"with the module":    {Module: `/a "b"/lib: {x}.so`, Table: "/dev/shm/stateful-route"},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := Bootstrap(o)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "bootstrap.yaml")
			if err := os.WriteFile(file, config, 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), bin.Path, "--mode", "validate", "--config-path", file, "--use-dynamic-base-id").CombinedOutput()
			if err != nil || bytes.Contains(out, []byte("[warning]")) || bytes.Contains(out, []byte("deprecated")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
