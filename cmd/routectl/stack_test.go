package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/internal/extensions"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

var programDir string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	var err error
	if programDir, err = os.MkdirTemp("", "routectl-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(programDir) }()
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// buildServers builds the servers that the tests talk to.
var buildServers = sync.OnceValues(func() (harness.Programs, error) {
	return harness.BuildOurs(context.Background(), programDir, "xds-server", "extproc")
})

// stack is an xds-server and two extprocs. Its pods do not exist: nothing is
// probed and nothing is sent to them.
type stack struct {
	xds, extproc       *harness.Process // the first of the extprocs
	second             *harness.Process
	xdsAddress         string // for xDS
	xdsAdmin           string
	extprocAdmins      []string
	configFile         string
	extprocConfigFiles []string
	http               *http.Client
}

func startStack(t *testing.T, analyzer string) *stack {
	t.Helper()
	return startStackWith(t, analyzer, "{memory: {}}")
}

// startSharing has the extprocs share their sessions, with short leases.
func startSharing(t *testing.T) (*stack, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t)
	return startStackWith(t, "{interval: 1h}", "{valkey: {addresses: ["+strconv.Quote(server.Addr())+"], lease: 1s}}"), server
}

func startStackWith(t *testing.T, analyzer, store string) *stack {
	t.Helper()
	t.Parallel()
	programs, err := buildServers()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &stack{
		xdsAddress: harness.Address(t), xdsAdmin: harness.Address(t), configFile: filepath.Join(dir, "xds-server.yaml"),
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}},
	}
	t.Cleanup(s.http.CloseIdleConnections)
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := template.Must(template.ParseFiles("testdata/xds-server.yaml.tmpl"))
	var b bytes.Buffer
	if err := text.Execute(&b, map[string]string{"XDS": s.xdsAddress, "Admin": s.xdsAdmin, "Analyzer": analyzer}); err != nil {
		t.Fatal(err)
	}
	write(t, s.configFile, b.String())
	s.xds = harness.NewProcess(t, "xds-server", filepath.Join(programs.Dir, "xds-server"), "--config", s.configFile)
	for i := range 2 {
		admin, file := harness.Address(t), filepath.Join(dir, fmt.Sprintf("extproc-%d.yaml", i))
		write(t, file, fmt.Sprintf("listen: %s\nadmin: %s\nxds: %s\nstore: %s\n", harness.Address(t), admin, s.xdsAddress, store))
		p := harness.NewProcess(t, fmt.Sprintf("extproc-%d", i), filepath.Join(programs.Dir, "extproc"), "--config", file)
		if i == 0 {
			s.extproc = p
		} else {
			s.second = p
		}
		s.extprocAdmins = append(s.extprocAdmins, admin)
		s.extprocConfigFiles = append(s.extprocConfigFiles, file)
	}
	for _, admin := range append([]string{s.xdsAdmin}, s.extprocAdmins...) {
		harness.Eventually(t, harness.Patience, admin+" is ready", func() error {
			_, err := harness.Body("http://" + admin + "/readyz")
			return err
		})
	}
	return s
}

// write replaces file in one step.
func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// edit replaces one text in a configuration with another.
func edit(t *testing.T, file, before, after string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), before) {
		t.Fatalf("%q is not in %s", before, raw)
	}
	write(t, file, strings.Replace(string(raw), before, after, 1))
}

// args adds the flags that lead to the stack.
func (s *stack) args(args ...string) []string {
	args = append(args, "--xds-admin", s.xdsAdmin)
	for _, admin := range s.extprocAdmins {
		args = append(args, "--extproc-admin", admin)
	}
	return args
}

// run runs routectl to its end.
func (s *stack) run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), s.args(args...), Options{Stdout: &out, Stderr: &errs, HTTP: s.http})
	return code, out.String(), errs.String()
}

// answer runs routectl for somebody at a terminal who types the answer.
func (s *stack) answer(answer string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), s.args(args...), Options{
		Stdout: &out, Stderr: &errs, HTTP: s.http, Stdin: strings.NewReader(answer), Interactive: true,
	})
	return code, out.String(), errs.String()
}

// ok runs routectl and returns what it printed; it must succeed.
func (s *stack) ok(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := s.run(args...)
	if code != 0 || stderr != "" {
		t.Fatalf("routectl %v: code %d, %q, stdout:\n%s", args, code, stderr, stdout)
	}
	return stdout
}

// offline runs routectl without servers.
func offline(args ...string) (code int, stdout, stderr string) {
	return offlineWith(extensions.Set{}, args...)
}

func offlineWith(known extensions.Set, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, Options{Stdout: &out, Stderr: &errs, HTTP: &http.Client{}, Extensions: known})
	return code, out.String(), errs.String()
}

// bind binds sessions through the API of one extproc.
func (s *stack) bind(t *testing.T, extproc int, service, pod string, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := harness.Call("PUT", "http://"+s.extprocAdmins[extproc]+sessionPath(service, key), `{"pod": "`+pod+`"}`); err != nil {
			t.Fatal(err)
		}
	}
}

// scrub replaces what differs between two runs, and the blanks that align it.
func (s *stack) scrub(text string) string {
	text = strings.ReplaceAll(text, "http://"+s.xdsAdmin, "XDS-ADMIN")
	for i, admin := range s.extprocAdmins {
		text = strings.ReplaceAll(text, "http://"+admin, fmt.Sprintf("EXTPROC-%d-ADMIN", i))
	}
	for _, r := range []struct{ pattern, with string }{
		{`extproc/\S+`, "extproc/HOST"},
		{`\b[A-Z2-7]{8}-\d+`, "VERSION"}, {`\b[0-9a-f]{16,}\b`, "VERSION"},
		{`\b(\d+m)?\d+s\b`, "AGE"}, {`\b\d{13}\b`, "EPOCH"}, {`\d{4}-\d\d-\d\dT[0-9:.]+Z`, "TIME"},
		{` +\d+( +\d+ +\S+ +[0-9.]+% +\d+\n)`, "  WEIGHT$1"}, // the load decides it
		{` {2,}`, "  "}, {`(?m) +$`, ""},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	return text
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *rewrite {
		write(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./cmd/routectl -rewrite writes it anew), got:\n%s", file, got)
	}
}
