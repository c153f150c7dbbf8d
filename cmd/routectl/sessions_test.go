package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

func TestSessionsOnEveryExtproc(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	for _, key := range []string{"room-1", "..", "a/b//c?d=e#f", "\xff\x00\x1b[2J", strings.Repeat("k", 4096)} {
		s.bind(t, 0, "chat", "chat-0", key)
		out := s.ok(t, "sessions", "move", "chat", key, "chat-2")
		if n := strings.Count(out, " chat-2 "); n != 2 {
			t.Errorf("%q is moved on %d of 2 extprocs:\n%s", key, n, out)
		}
		if out := s.ok(t, "sessions", "delete", "chat", key); out != "forgotten by 2 extprocs\n" {
			t.Errorf("%q: %s", key, out)
		}
		code, stdout, stderr := s.run("sessions", "show", "chat", key)
		if code != 1 || stdout != "" || stderr != "routectl: there is no such session\n" {
			t.Errorf("after its end %q is %d %q %q", key, code, stdout, stderr)
		}
	}
	if code, _, stderr := s.run("sessions", "delete", "chat", "room-1"); code != 1 || stderr != "routectl: there is no such session\n" {
		t.Errorf("delete again: %d %q", code, stderr)
	}
	for _, args := range [][]string{{"list", "--service", "nothing"}, {"show", "nothing", "room-1"}, {"delete", "nothing", "room-1"}} {
		if code, stdout, stderr := s.run(append([]string{"sessions"}, args...)...); code != 1 || stdout != "" || !strings.Contains(stderr, `no service "nothing"`) {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
	s.bind(t, 1, "chat", "chat-0", "one")
	if out := s.ok(t, "sessions", "delete", "chat", "one", "-o", "json"); !strings.Contains(out, `"deleted": 1`) {
		t.Errorf("delete: %s", out)
	}
	code, stdout, stderr := s.run("sessions", "move", "chat", "room-1", "chat-9")
	if want := `service "chat" has no pod "chat-9"`; code != 1 || stdout != "" || strings.Count(stderr, want) != 2 {
		t.Errorf("a move to nowhere: %d %q %q", code, stdout, stderr)
	}
}

func TestListReadsAllPages(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	for i := range pageSize + 50 {
		s.bind(t, 0, "chat", fmt.Sprintf("chat-%d", i%2), fmt.Sprintf("room-%d", i))
	}
	s.bind(t, 1, "chat", "chat-0", "last")
	for _, v := range []struct {
		args []string
		want int
	}{
		{nil, pageSize + 51},
		{[]string{"--pod", "chat-0"}, pageSize/2 + 26},
		{[]string{"--limit", strconv.Itoa(pageSize + 1)}, pageSize + 1},
		{[]string{"--limit", "3"}, 3},
	} {
		args := append([]string{"sessions", "list"}, v.args...)
		lines := strings.Split(strings.TrimSpace(s.ok(t, args...)), "\n")
		if len(lines)-1 != v.want || !strings.HasPrefix(lines[0], "SERVICE") {
			t.Errorf("%v: %d lines, %q", args, len(lines), lines[0])
		}
		var list sessionList
		parse(t, s.ok(t, append(args, "-o", "json")...), &list)
		if len(list.Sessions) != v.want {
			t.Errorf("%v -o json: %d sessions", args, len(list.Sessions))
		}
	}
}

// All sessions of a service are forgotten when the operator says so, and only then.
func TestFlush(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	for i := range 5 {
		s.bind(t, i%2, "chat", "chat-0", fmt.Sprintf("room-%d", i))
	}
	left := func() int {
		var list sessionList
		parse(t, s.ok(t, "sessions", "list", "--service", "chat", "-o", "json"), &list)
		return len(list.Sessions)
	}
	code, stdout, stderr := s.run("sessions", "flush", "chat")
	if code != 2 || stdout != "" || !strings.Contains(stderr, "not a terminal") || !strings.Contains(stderr, "--yes") {
		t.Errorf("without a terminal: %d %q %q", code, stdout, stderr)
	}
	for _, no := range []string{"", "\n", "n\n", "nay\n", "yes please\n"} {
		code, stdout, stderr := s.answer(no, "sessions", "flush", "chat")
		if code != 1 || stdout != "" || !strings.Contains(stderr, "[y/N]") || !strings.Contains(stderr, "no session was forgotten") {
			t.Errorf("answered %q: %d %q %q", no, code, stdout, stderr)
		}
	}
	if n := left(); n != 5 {
		t.Fatalf("%d of 5 sessions are left before anybody said yes", n)
	}
	code, stdout, stderr = s.answer("y\n", "sessions", "flush", "chat")
	if code != 0 || stdout != "5 sessions forgotten by 2 extprocs\n" || !strings.Contains(stderr, "all sessions of chat on 2 extprocs?") {
		t.Errorf("answered y: %d %q %q", code, stdout, stderr)
	}
	if n := left(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	s.bind(t, 1, "chat", "chat-0", "later")
	var sum flushed
	parse(t, s.ok(t, "sessions", "flush", "chat", "--yes", "-o", "json"), &sum)
	if sum != (flushed{Service: "chat", Forgotten: 1, Extprocs: 2}) {
		t.Errorf("got %+v", sum)
	}
	code, stdout, stderr = s.run("sessions", "flush", "nothing", "--yes")
	if code != 1 || stdout != "" || stderr != "routectl: there is no service \"nothing\"\n" {
		t.Errorf("an unknown service: %d %q %q", code, stdout, stderr)
	}
}
