package main

import (
	"context"
	"fmt"
	"slices"
)

// row is one line of the table: which set-up, and what it is asked.
type row struct {
	name, title string
	front       string // rows of the same name share it
	start       starter
	requests    []request
	// prepare replaces requests by some that the running set-up must be asked for.
	prepare func(context.Context, *front) ([]request, error)
	pods    int
	peer    string // the row that it is compared with: plain Envoy with as many pods
	// sessions are known before; 0: see fresh.
	sessions int
	fresh    bool // each request is a new session
	changes  bool // other sessions change meanwhile
}

// plain is the row that all others are compared with.
const plain = "envoy"

func header() []request {
	return []request{{path: "/", headers: [][2]string{{"x-session-id", keyHole}}}}
}

// naming are requests of known sessions whose pod makes a new one each time.
func naming() []request {
	return []request{{path: "/learn", headers: [][2]string{{"mcp-session-id", keyHole}}}}
}

// keyed are the places where ours finds a session.
func keyed() []struct {
	name     string
	requests []request
} {
	return []struct {
		name     string
		requests []request
	}{
		{"header", header()},
		{"cookie", []request{{path: "/", headers: [][2]string{{"cookie", "sid=" + keyHole}}}}},
		{"query", []request{{path: "/?session=" + keyHole}}},
		{"path", []request{{path: "/rooms/" + keyHole}}},
	}
}

// rows are those of a plan, whether it wants them or not.
func (p *plan) allRows() []row {
	few, many := slices.Min(p.sessions), slices.Max(p.sessions)
	all := []row{
		{name: plain, title: "Envoy, router alone", start: static(staticEnvoy{}), requests: header()},
		{name: "envoy-cookie", title: "Envoy, stateful_session cookie", start: static(staticEnvoy{Filters: cookieFilter}), prepare: cookies, sessions: few},
		{name: "envoy-ring-hash", title: "Envoy, ring_hash on a header", start: static(staticEnvoy{Route: ringRoute, Cluster: ringCluster}), requests: header(), sessions: few},
		{name: "extproc-noop", title: "Envoy, no-op ext_proc server", start: startNoop, requests: header(), sessions: few},
		{name: "haproxy", title: "HAProxy, round robin", start: haproxy(""), requests: header()},
		{name: "haproxy-stick", title: "HAProxy, stick-table on a header", start: haproxy(stickTable), requests: header(), sessions: few},
		{name: "nginx-hash", title: "nginx, consistent hash of a header", start: nginx(), requests: header(), sessions: few},
	}
	for i := range all {
		all[i].front = all[i].name
	}
	all = append(all, p.oursRows(few, many)...)
	for i := range all {
		all[i].pods, all[i].peer = p.pods[0], plain
	}
	for _, n := range p.pods[1:] {
		all = append(all, podRows(n, few)...)
	}
	return all
}

// podRows are what is measured with another number of pods.
func podRows(n, sessions int) []row {
	peer := fmt.Sprintf("%s-%d-pods", plain, n)
	set := fmt.Sprintf("ours-%d-%d-pods", sessions, n)
	return []row{
		{name: peer, title: fmt.Sprintf("Envoy, router alone, %d pods", n), front: peer, start: static(staticEnvoy{}), requests: header(), pods: n, peer: peer},
		{
			name: fmt.Sprintf("ours-header-%d-%d-pods", sessions, n), title: fmt.Sprintf("ours, header, %d sessions, %d pods", sessions, n),
			front: set, start: ours(sessions, true), requests: header(), sessions: sessions, pods: n, peer: peer,
		},
		{
			name: fmt.Sprintf("ours-unbound-%d-pods", n), title: fmt.Sprintf("ours, no session, %d pods", n),
			front: set, start: ours(sessions, true), requests: []request{{path: "/"}}, pods: n, peer: peer,
		},
	}
}

func (p *plan) oursRows(few, many int) []row {
	setUp := func(sessions int) string { return fmt.Sprintf("ours-%d", sessions) }
	all := []row{{
		name: "ours-unbound", title: "ours, no session", front: setUp(few), start: ours(few, true), requests: []request{{path: "/"}},
	}}
	for _, n := range p.sessions {
		for _, k := range keyed() {
			all = append(all, row{
				name: fmt.Sprintf("ours-%s-%d", k.name, n), title: fmt.Sprintf("ours, %s, %d sessions", k.name, n),
				front: setUp(n), start: ours(n, true), requests: k.requests, sessions: n,
			})
		}
	}
	for _, k := range keyed() {
		all = append(all, row{
			name: fmt.Sprintf("ours-%s-%d-changes", k.name, many), title: fmt.Sprintf("ours, %s, %d sessions, %d changes/s", k.name, many, p.changes),
			front: setUp(many), start: ours(many, true), requests: k.requests, sessions: many, changes: true,
		})
	}
	return append(all,
		row{name: "ours-callout", title: "ours without the module, header", front: "callout", start: ours(few, false), requests: header(), sessions: few},
		row{name: "ours-first", title: "ours, first requests", front: "first", start: ours(many, true), requests: header(), fresh: true},
		row{name: "ours-issue", title: "ours, a cookie is issued", front: "first", start: ours(many, true), requests: []request{{path: "/issue"}}},
		row{name: "ours-learn", title: "ours, a session is learned", front: "first", start: ours(many, true), requests: []request{{path: "/learn"}}},
		row{name: "ours-learn-held", title: "ours, a known session's response names another", front: "held", start: ours(many, true), requests: naming(), sessions: few},
		row{name: "ours-learn-callout", title: "ours without the module, the same", front: "held-callout", start: ours(many, false), requests: naming(), sessions: few},
	)
}

// wanted are the rows of the plan; plain Envoy comes first.
func (p *plan) wanted() []row {
	return slices.DeleteFunc(p.allRows(), func(r row) bool { return r.name != r.peer && !p.rows.MatchString(r.name) })
}
