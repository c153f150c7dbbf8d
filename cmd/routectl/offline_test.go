package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func errorOf(code int, stdout, stderr string) error {
	return fmt.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
}

// In config/testdata each refused file names its message.
func TestValidateRefuses(t *testing.T) {
	for dir, kind := range map[string]string{"../../config/testdata": "xds-server", "../../config/testdata/extproc": "extproc"} {
		files, _ := filepath.Glob(dir + "/*.bad.yml")
		if len(files) < 4 {
			t.Fatalf("%s has %d files", dir, len(files))
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(raw), "\n")
			want := strings.TrimPrefix(first, "# want: ")
			code, stdout, stderr := offline("validate", "--kind", kind, file)
			stderr = strings.ReplaceAll(stderr, "../../config/", "") // files that the configuration names
			if code != 1 || stdout != "" || !strings.Contains(stderr, want) || strings.HasPrefix(stderr, "routectl") {
				t.Errorf("%s: %v, want %q", file, errorOf(code, stdout, stderr), want)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		f, err := os.CreateTemp(dir, "*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	service := func(pods string) string {
		return "services: [{name: chat, session: {key: [{header: x}]}, pods: " + pods + "}]\n"
	}
	var heavy strings.Builder // each weight is allowed, their sum is not
	for i := range 4295 {
		fmt.Fprintf(&heavy, "{name: p%d, address: 127.0.0.1:%d, weight: 1000000}, ", i, i+1)
	}
	for _, v := range []struct {
		name, file string
		code       int
		want       string
	}{
		{"the sample of xds-server", "../../envoy/xds-server.yaml", 0, "is a good configuration of xds-server"},
		{"the sample of extproc", "../../envoy/extproc.yaml", 0, "is a good configuration of extproc"},
		{"two faults", file("listen: x\nadmin: y\nservices: []\n"), 1, ":2: admin: "},
		{"not YAML", file("services: [\n"), 1, ":"},
		{"weights that Envoy cannot add up", file(service("{static: [" + heavy.String() + "]}")), 1, "the weights add up to 4295000000"},
		{"a file of pods that is not there", file(service("{file: nowhere.yaml}")), 1, "nowhere.yaml"},
		{"a field twice", file("store: {memory: {}}\nstore: {}\n"), 1, ":2: store: already given in line 1"},
		{"a list", file("- services\n"), 1, "say --kind"},
		{"nothing", file(""), 1, ": the file is empty"},
		{"fields of neither", file("listen: 127.0.0.1:1\n"), 1, "say --kind"},
		{"fields of both", file("services: []\nstore: {}\n"), 1, "say --kind"},
		{"no file", filepath.Join(dir, "nothing"), 1, "no such file"},
	} {
		code, stdout, stderr := offline("validate", v.file)
		if code != v.code || !strings.Contains(stdout+stderr, v.want) {
			t.Errorf("%s: %v, want %q", v.name, errorOf(code, stdout, stderr), v.want)
		}
	}
	code, stdout, _ := offline("validate", "-o", "json", file("listen: x\nadmin: y\nservices: []\n"))
	var out verdict
	parse(t, stdout, &out)
	if code != 1 || out.Valid || out.Kind != "xds-server" || len(out.Errors) != 3 {
		t.Errorf("as JSON: %d %+v", code, out)
	}
}

// Package xds keeps golden files of what Envoy gets: render prints the same.
func TestRender(t *testing.T) {
	for _, name := range []string{"sample", "wide"} {
		base := filepath.Join("../../xds/build/testdata", name)
		code, stdout, stderr := offline("render", "xds", base+".yaml")
		if code != 0 || stderr != "" {
			t.Fatal(errorOf(code, "", stderr))
		}
		var got map[string]any
		parse(t, stdout, &got)
		for _, kind := range []string{"lds", "rds", "cds", "eds"} {
			raw, err := os.ReadFile(base + "." + kind + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var want any
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got[kind], want) {
				t.Errorf("%s of %s is not what xds builds: %v", kind, name, got[kind])
			}
		}
		if _, again, _ := offline("render", "xds", base+".yaml"); again != stdout {
			t.Errorf("%s is not the same twice", name)
		}
	}
	if code, _, stderr := offline("render", "xds", "../../config/testdata/strategy.bad.yml"); code != 1 || !strings.HasPrefix(stderr, "routectl: ../../config/testdata/strategy.bad.yml:") {
		t.Errorf("a bad file: %d %q", code, stderr)
	}
}

// What Envoy would get is shown but for private keys.
func TestRenderShowsNoPrivateKey(t *testing.T) {
	const dir = "../../xds/build/testdata/"
	t.Setenv("SSL_CERT_FILE", dir+"chat.pem")
	code, stdout, stderr := offline("render", "xds", dir+"tls.yaml")
	var got struct{ SDS map[string]json.RawMessage }
	parse(t, stdout, &got)
	if code != 0 || len(got.SDS) != 3 || strings.Count(stdout, "[redacted]") != 1 {
		t.Errorf("%v", errorOf(code, stdout, stderr))
	}
	key, err := os.ReadFile(dir + "chat.key")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(key)) {
		if line = strings.TrimSpace(line); strings.Contains(stdout, line) && !strings.Contains(line, "-----") || strings.Contains(stdout, "PRIVATE") {
			t.Fatalf("a line of the key is shown: %s", line)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, v := range []struct {
		args []string
		want string
	}{
		{[]string{"frobnicate"}, `there is no command "frobnicate"`},
		{[]string{"sessions", "frobnicate"}, `there is no command "frobnicate"`},
		{[]string{"pods", "drain", "chat"}, "POD is missing"},
		{[]string{"pods", "drain", "chat", "chat-0", "--timeout", "1s"}, "--wait"},
		{[]string{"pods", "drain", "chat", "chat-0", "--wait", "--timeout", "-1s"}, "--wait"},
		{[]string{"sessions", "move", "chat", "key"}, "POD is missing"},
		{[]string{"sessions", "list", "--limit", "-1"}, "--limit"},
		{[]string{"status", "now"}, `unexpected argument "now"`},
		{[]string{"status", "-o", "yaml"}, "table or json"},
		{[]string{"status", "--colour"}, "--colour"},
		{[]string{"status", "--extproc-admin", "ftp://x"}, "not a URL"},
		{[]string{"validate", "--kind", "envoy", "x.yaml"}, "--kind"},
	} {
		code, stdout, stderr := offline(v.args...)
		if code != 2 || stdout != "" || !strings.Contains(stderr, v.want) || !strings.Contains(stderr, "--help") {
			t.Errorf("%v: %v, want %q", v.args, errorOf(code, stdout, stderr), v.want)
		}
	}
}

func TestCompletionAndVersion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, stdout, stderr := offline("completion", shell); code != 0 || !strings.Contains(stdout, "routectl") {
			t.Errorf("%s: %d %q", shell, code, stderr)
		}
	}
	if code, stdout, _ := offline("--version"); code != 0 || !strings.HasPrefix(stdout, "routectl ") {
		t.Errorf("version: %d %q", code, stdout)
	}
}
