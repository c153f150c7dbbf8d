package discovery

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAListIsReadFromAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pods.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("- {name: a, address: '127.0.0.1:1', weight: 5}\n")
	pods, err := ReadList(file)
	if err != nil || len(pods) != 1 || pods[0].Weight != 5 {
		t.Errorf("got %v, %v", pods, err)
	}
	write("- {name: a, address: '127.0.0.1:1'}\n- {name: b, address: '127.0.0.1'}\n")
	if _, err := ReadList(file); err == nil || !strings.Contains(err.Error(), "pods.yaml:2: [1].address: ") {
		t.Errorf("got %v", err)
	}
}

func TestPodsFilesThatAreNoList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pods.yaml")
	for text, want := range map[string]string{
		"null\n":       "pods.yaml:1: a list of pods is needed, such as - {name: chat-0, address: 127.0.0.1:9101}",
		"a: 1\n":       "pods.yaml:1: a list of pods is needed, such as - {name: chat-0, address: 127.0.0.1:9101}",
		"- a\n":        "pods.yaml:1: [0]: a group of settings is needed, of name, address, weight, zone",
		"":             "pods.yaml: the file is empty",
		"# nothing\n":  "pods.yaml: the file is empty",
		"- {name: [\n": "pods.yaml:1: did not find expected node content",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadList(file); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
