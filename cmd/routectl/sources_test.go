package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A source that loses its pods is seen by status and check, and an operator can
// believe it.
func TestASourceThatLosesItsPods(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	file := filepath.Join(filepath.Dir(s.configFile), "pods.yaml")
	write(t, file, "- {name: rooms-0, address: 127.0.0.1:9201}\n- {name: rooms-1, address: 127.0.0.1:9202}\n")
	edit(t, s.configFile, "{static: [{name: rooms-0, address: 127.0.0.1:9201}]}", "{file: pods.yaml}")
	s.until(t, "rooms-1", "pods", "rooms")
	s.until(t, "nothing is wrong", "check", "--envoys", "0")
	write(t, file, "[]\n")
	s.wrong(t, []string{"--envoys", "0"}, `service "rooms": file `+file+` lost 2 of 2 pods at once: they are kept until `)
	if out := s.ok(t, "status"); !strings.Contains(out, "service rooms: file "+file+" lost 2 of 2 pods at once") {
		t.Errorf("status:\n%s", out)
	}
	if out := s.ok(t, "pods", "accept", "rooms"); out != "rooms has 0 pods now\n" {
		t.Errorf("accept: %q", out)
	}
	s.wrong(t, []string{"--envoys", "0"}, `service "rooms" has no ready pod`)
	if code, _, stderr := s.run("pods", "accept", "rooms"); code != 1 || stderr != "routectl: service \"rooms\": no loss of pods is held back\n" {
		t.Errorf("accept again: %d %q", code, stderr)
	}
	write(t, file, "- {nam: rooms-0}\n")
	s.wrong(t, []string{"--envoys", "0"}, `has no ready pod`, "service \"rooms\": file "+file+" cannot be read, its last good list is served")
}

// An order that is in force and not saved is an error, for a restart forgets it.
func TestAnOrderThatIsNotSaved(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	disk := filepath.Join(filepath.Dir(s.configFile), "disk")
	if err := os.Rename(disk, disk+".gone"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"pods", "drain", "chat", "chat-1"}, {"pods", "drain", "chat", "chat-1", "--wait"}} {
		code, stdout, stderr := s.run(args...)
		if code != 1 || !strings.HasPrefix(stdout, "chat-1 of chat is draining\n") ||
			!strings.HasPrefix(stderr, "routectl: the order on chat-1 of chat is in force, but not saved: ") || !strings.Contains(stderr, "state.db") {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
	var row orderRow
	if code, stdout, _ := s.run("pods", "drain", "chat", "chat-1", "-o", "json"); code != 1 {
		t.Errorf("as JSON: exit code %d", code)
	} else if parse(t, stdout, &row); row.Saved || row.Error == "" || row.State != "draining" {
		t.Errorf("as JSON: %+v", row)
	}
	s.wrong(t, []string{"--envoys", "0"}, "xds-server at http://"+s.xdsAdmin+": orders cannot be written")
	if out := s.ok(t, "status"); !strings.Contains(out, "orders cannot be written") {
		t.Errorf("status:\n%s", out)
	}
}

func TestWordsAreQuotedForAShell(t *testing.T) {
	for word, want := range map[string]string{"chat-0": "chat-0", "[::1]:80": "'[::1]:80'", "it's": `'it'\''s'`, "10.0.0.1:80": "10.0.0.1:80", "": "''"} {
		if got := quoted(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
