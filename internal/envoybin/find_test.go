package envoybin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
