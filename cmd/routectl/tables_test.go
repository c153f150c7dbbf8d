package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/xds"
)

// until runs routectl until it prints what is wanted.
func (s *stack) until(t *testing.T, want string, args ...string) {
	t.Helper()
	harness.Eventually(t, harness.Patience, fmt.Sprint(args, " prints ", want), func() error {
		if _, stdout, stderr := s.run(args...); !strings.Contains(stdout, want) {
			return fmt.Errorf("it printed %q and %q", stdout, stderr)
		}
		return nil
	})
}

func TestTables(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	envoy := connectEnvoy(t, s.xdsAddress)
	envoy.answer(t, "")
	s.until(t, "all in sync", "status")
	s.bind(t, 0, "chat", "chat-0", "room-1", "../../etc", "tab\there \x1b[31m\xff")
	s.bind(t, 1, "chat", "chat-1", "room-1")
	s.bind(t, 0, "rooms", "rooms-0", "room-2")
	s.ok(t, "pods", "drain", "chat", "chat-1")
	s.awaitSessions(t, map[string]int64{"chat-0": 3, "chat-1": 1, "chat-2": 0, "rooms-0": 1})
	for name, args := range map[string][]string{
		"services":      {"services"},
		"pods":          {"pods"},
		"pods-rooms":    {"pods", "rooms"},
		"sessions":      {"sessions", "list"},
		"sessions-some": {"sessions", "list", "--service", "chat", "--pod", "chat-1"},
		"sessions-none": {"sessions", "list", "--service", "rooms", "--pod", "nothing"},
		"session":       {"sessions", "show", "chat", "room-1"},
		"envoys":        {"envoys"},
		"status":        {"status"},
		"report":        {"report", "--service", "chat"},
		"check":         {"check"},
		"help":          {"--help"},
	} {
		t.Run(name, func(t *testing.T) {
			lines := strings.SplitAfter(s.scrub(s.ok(t, args...)), "\n")
			if args[0] == "sessions" {
				slices.Sort(lines[1:]) // each extproc has an order of its own
			}
			golden(t, name, strings.Join(lines, ""))
		})
	}
}

// awaitSessions waits until the extprocs have reported their sessions.
func (s *stack) awaitSessions(t *testing.T, want map[string]int64) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "the sessions are reported", func() error {
		var pods []podRow
		parse(t, s.ok(t, "pods", "-o", "json"), &pods)
		for _, p := range pods {
			if p.Sessions != want[p.Name] {
				return fmt.Errorf("%s has %d", p.Name, p.Sessions)
			}
		}
		return nil
	})
}

// What the API answers is what -o json prints.
func TestJSON(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	s.bind(t, 0, "chat", "chat-2", "k")
	s.bind(t, 1, "chat", "chat-0", "k")
	var shown, answered any
	for path, args := range map[string][]string{
		"/api/v1/services":                    {"services"},
		"/api/v1/services/rooms/pods":         {"pods", "rooms"},
		"/api/v1/services/chat/pods":          {"pods", "chat"},
		"/api/v1/report?service=chat&time=no": {"report", "--service", "chat"},
	} {
		parse(t, s.ok(t, append(args, "-o", "json")...), &shown)
		if err := harness.JSON("http://"+s.xdsAdmin+path, &answered); err != nil {
			t.Fatal(err)
		}
		if !contains(shown, answered) {
			t.Errorf("%v: %v is not all in %v", args, answered, shown)
		}
	}
	var one replicated
	parse(t, s.ok(t, "sessions", "show", "chat", "k", "-o", "json"), &one)
	if one.Pod != "chat-0" || one.Key != "k" || len(one.Replicas) != 2 || one.Extproc != "http://"+s.extprocAdmins[1] {
		t.Errorf("show: %+v", one)
	}
	var list sessionList
	parse(t, s.ok(t, "sessions", "list", "-o", "json"), &list)
	if len(list.Sessions) != 2 || list.Sessions[0].Pod != "chat-2" || list.Sessions[1].Pod != "chat-0" {
		t.Errorf("list: %+v", list)
	}
	if out := s.ok(t, "sessions", "list", "--pod", "no", "-o", "json"); strings.Contains(out, "null") {
		t.Errorf("no session: %s", out)
	}
	var status statusReport
	parse(t, s.ok(t, "status", "-o", "json"), &status)
	if len(status.Servers) != 3 || status.Servers[1].Table.Size != 1 || len(status.Services) != 2 || status.Clients["extproc"] != 2 {
		t.Errorf("status: %+v", status)
	}
	var clients []map[string]any
	parse(t, s.ok(t, "envoys", "-o", "json"), &clients)
	if len(clients) != 4 || clients[0]["client"] != "extproc" {
		t.Errorf("envoys: %v", clients)
	}
}

func parse(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// contains reports whether all of part is in whole, the time of an answer aside.
func contains(whole, part any) bool {
	switch p := part.(type) {
	case map[string]any:
		w, ok := whole.(map[string]any)
		for k, v := range p {
			ok = ok && (k == "time" || contains(w[k], v))
		}
		return ok
	case []any:
		w, ok := whole.([]any)
		ok = ok && len(w) == len(p)
		for i := 0; ok && i < len(p); i++ {
			ok = contains(w[i], p[i])
		}
		return ok
	}
	return reflect.DeepEqual(whole, part)
}

// An Envoy that does without the module that it asks for is named once, with its reason.
func TestWhoDoesWithoutTheModuleIsSaid(t *testing.T) {
	clients := []xds.ClientStatus{
		{Node: "old", Client: "envoy", Type: "cds", Status: "ack", Path: xds.PathCallout, PathReason: "it refused"},
		{Node: "old", Client: "envoy", Type: "lds", Status: "ack", Path: xds.PathCallout, PathReason: "it refused"},
		{Node: "new", Client: "envoy", Type: "lds", Status: "ack", Path: xds.PathModule},
		{Node: "replica", Client: "extproc", Type: "cds", Status: "ack"},
	}
	var out strings.Builder
	clientsTable(&out, clients)
	said := `envoy "old" asks extproc about every request, for it has not the module: it refused`
	if strings.Count(out.String(), said) != 1 {
		t.Errorf("the table:\n%s", out.String())
	}
	var r checkReport
	if r.clients(clients, expectations{}); len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Message, said) {
		t.Errorf("check: %+v", r)
	}
	out.Reset()
	statusTable(&out, statusReport{Servers: []serverState{{}}, WithModule: 1, WithoutModule: withoutModule(clients)})
	if !strings.Contains(out.String(), said) || !strings.Contains(out.String(), "1 Envoy with the fast path\n") {
		t.Errorf("status:\n%s", out.String())
	}
}
