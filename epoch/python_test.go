package epoch_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const document = "../docs/epochs.md"

// serve is what a test puts behind the example of the document.
const serve = `
import wsgiref.simple_server as server

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]

%s
httpd = server.make_server("127.0.0.1", 0, app)
print(httpd.server_port, flush=True)
httpd.serve_forever()
`

// block is the code of a language in the document.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n```"+language+"\n")
	code, _, ended := strings.Cut(after, "\n```\n")
	if !found || !ended {
		t.Fatalf("%s has no %s", document, language)
	}
	return code
}

// startPython runs the document's example and returns where it serves.
func startPython(t *testing.T, code string) (url string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not on PATH")
	}
	file := filepath.Join(t.TempDir(), "pod.py")
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), python, file)
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Wait() }) // killed as the test's context ended
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("it does not say where it listens: %v", lines.Err())
	}
	return "http://127.0.0.1:" + lines.Text()
}

// The example for another language is as short as it says, and refuses what the Go handler
// refuses.
func TestTheExampleInTheDocument(t *testing.T) {
	code, use := block(t, "python"), block(t, "python use")
	if n := len(strings.Split(code, "\n")); n != 20 {
		t.Errorf("the example has %d lines, %s says twenty", n, document)
	}
	url := startPython(t, code+fmt.Sprintf(serve, use))
	for _, c := range []struct {
		session, epoch string
		status         int
	}{
		{"a", "5", 200}, {"a", "7", 200}, {"a", "5", 421}, {"a", "6", 421}, {"a", "7", 200}, {"a", "", 200},
		{"b", "5", 200}, {"", "1", 200}, {"a", "1800000000000", 200}, {"a", "1799999999999", 421},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"x-session-id": c.session, "x-stateful-route-epoch": c.epoch} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != c.status {
			t.Errorf("session %q with epoch %s: %d, want %d", c.session, c.epoch, response.StatusCode, c.status)
		}
	}
}
