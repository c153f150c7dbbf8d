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
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestParseVersion(t *testing.T) {
	const release = "\n/usr/bin/envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n\n"
	for output, want := range map[string]Version{
		release: {1, 40, 0},
		strings.Replace(release, "1.40.0", "1.41.2-dev", 1): {1, 41, 2},
	} {
		if got, err := ParseVersion(output); err != nil || got != want {
			t.Errorf("ParseVersion(%q) = %v, %v; want %v", output, got, err, want)
		}
	}
	if v, err := ParseVersion("GNU envoy 1.40.0"); err == nil {
		t.Errorf("another program's version was taken for %v", v)
	}
}

func TestVersionOrder(t *testing.T) {
	ordered := []Version{{0, 99, 99}, {1, 9, 0}, {1, 39, 0}, {1, 39, 1}, {1, 40, 0}, {2, 0, 0}}
	for i, v := range ordered {
		for j, w := range ordered {
			if got := v.Less(w); got != (i < j) {
				t.Errorf("%v.Less(%v) = %v", v, w, got)
			}
		}
	}
}

// fakeEnvoy writes a program that claims to be an Envoy of that version.
func fakeEnvoy(t *testing.T, dir, version string) string {
	t.Helper()
	path := filepath.Join(dir, "envoy")
	script := "#!/bin/sh\necho 'envoy  version: 9e55/" + version + "/Clean/RELEASE/BoringSSL'\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindTakesTheEnvoyNamedByTheUser(t *testing.T) {
	path := fakeEnvoy(t, t.TempDir(), "1.39.1")
	t.Setenv("ENVOY", path)
	got, err := Find(t.Context(), FindOptions{})
	if want := (Binary{path, Version{1, 39, 1}, "$ENVOY"}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestFindRefusesAnOldOrBrokenEnvoyNamedByTheUser(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho out of luck\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fakeEnvoy(t, t.TempDir(), "1.39.0"): "is Envoy 1.39.0, too old: at least 1.39.1 is needed",
		broken:                              "exit status 3: out of luck",
		"/nowhere/envoy":                    "no such file",
	} {
		t.Setenv("ENVOY", path)
		_, err := Find(t.Context(), FindOptions{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("ENVOY=%s: error %q; want one line with %q", path, err, want)
		}
	}
}

func TestFindPrefersAGoodEnvoyOnPath(t *testing.T) {
	dir := t.TempDir()
	path := fakeEnvoy(t, dir, "1.41.0")
	t.Setenv("ENVOY", "")
	t.Setenv("PATH", dir)
	got, err := Find(t.Context(), FindOptions{})
	if err != nil || got.Path != path || got.Source != "PATH" {
		t.Errorf("got %+v, %v; want %s from PATH", got, err, path)
	}
}

// An old envoy on PATH is passed over, audibly; what is missing then is Python.
func TestFindSaysWhatItNeedsToInstall(t *testing.T) {
	dir := t.TempDir()
	path := fakeEnvoy(t, dir, "1.30.0")
	t.Setenv("ENVOY", "")
	t.Setenv("PATH", dir)
	var log strings.Builder
	_, err := Find(t.Context(), FindOptions{Root: t.TempDir(), Log: &log})
	passedOver := "the envoy on PATH is not used: " + path + " is Envoy 1.30.0, too old: at least 1.39.1 is needed\n"
	if !strings.HasPrefix(log.String(), passedOver) {
		t.Errorf("said %q, want %q", log.String(), passedOver)
	}
	for _, want := range []string{"set ENVOY to one ≥ 1.39.1", "python3 is not on PATH"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want %q in it", err, want)
		}
	}
}

func TestLauncherScriptLeadsToTheProgram(t *testing.T) {
	venv := t.TempDir()
	bin := filepath.Join(venv, "bin")
	programs := filepath.Join(venv, "lib", "python3.11", "site-packages", "envoy", "_bin")
	for _, dir := range []string{bin, programs} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := fakeEnvoy(t, bin, "1.40.0")
	program := fakeEnvoy(t, programs, "1.40.0")
	if got := wheelProgram(script); got != program {
		t.Errorf("wheelProgram(%s) = %s, want %s", script, got, program)
	}
	if got := wheelProgram(os.Args[0]); got != os.Args[0] {
		t.Errorf("a program was taken for a launcher of %s", got)
	}
}

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
		"max connections is negative": {MaxConnections: -1},
	} {
		if _, err := Bootstrap(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v; want %q in it", o, err, want)
		}
	}
}

func TestEnvoyAcceptsTheBootstrap(t *testing.T) {
	bin, err := Find(context.Background(), FindOptions{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]BootstrapOptions{
		"delta":              {},
		"state of the world": {StateOfTheWorld: true, NodeID: "edge/7", Admin: "[::1]:0"},
		"by host name":       {XDS: "xds.example.internal:18000"},
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
