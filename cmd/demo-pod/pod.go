package main

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
)

// pod is the whole state of a backend; it ends with the process.
type pod struct {
	name string

	mu       sync.Mutex
	visits   map[string]int // by session
	requests int            // all that were answered, with a session or without
	behave   behaviour
}

// visit is the answer to a request: what the pod remembers of its session.
type visit struct {
	Pod     string `json:"pod"`
	Session string `json:"session"`
	Visits  int    `json:"visits"`
}

func newPod(name string) *pod { return &pod{name: name, visits: map[string]int{}} }

func (p *pod) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", p.healthz)
	mux.HandleFunc("GET /control", p.showControl)
	mux.HandleFunc("POST /control", p.setControl)
	mux.HandleFunc("/login", p.misbehave(p.login))
	mux.HandleFunc("/mcp", p.misbehave(p.mcp))
	mux.HandleFunc("/", p.misbehave(p.serve))
	return mux
}

// serve counts the visit of the request's session. Without one every visit is
// the first.
func (p *pod) serve(w http.ResponseWriter, r *http.Request) {
	p.answer(w, sessionOf(r))
}

// login starts a session of the pod's own making, unless there is one.
func (p *pod) login(w http.ResponseWriter, r *http.Request) {
	id := sessionOf(r)
	if id == "" {
		id = rand.Text()
		http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: id, Path: "/", HttpOnly: true})
	}
	p.answer(w, id)
}

// mcp does the same in the way of a Model Context Protocol server.
func (p *pod) mcp(w http.ResponseWriter, r *http.Request) {
	id := sessionOf(r)
	if id == "" {
		id = rand.Text()
	}
	w.Header().Set("mcp-session-id", id)
	p.answer(w, id)
}

func (p *pod) answer(w http.ResponseWriter, session string) {
	writeJSON(w, p.name, http.StatusOK, p.count(session))
}

func (p *pod) count(session string) visit {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	if session == "" {
		return visit{Pod: p.name, Visits: 1}
	}
	p.visits[session]++
	return visit{p.name, session, p.visits[session]}
}

// sessionOf looks where the sample configuration tells the router to look, in
// the same order.
func sessionOf(r *http.Request) string {
	if v := r.Header.Get("x-session-id"); v != "" {
		return v
	}
	if v := cookie(r, "sid"); v != "" {
		return v
	}
	if v := r.URL.Query().Get("session"); v != "" {
		return v
	}
	if room, ok := strings.CutPrefix(r.URL.Path, "/rooms/"); ok {
		room, _, _ = strings.Cut(room, "/")
		if room != "" {
			return room
		}
	}
	if v := r.Header.Get("mcp-session-id"); v != "" {
		return v
	}
	if v := cookie(r, "JSESSIONID"); v != "" {
		return v
	}
	return cookie(r, "stateful-route")
}

func cookie(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

func writeJSON(w http.ResponseWriter, pod string, status int, v any) {
	w.Header().Set("content-type", "application/json")
	w.Header().Set("x-demo-pod", pod)
	w.WriteHeader(status)
	// An error here means that the client has gone.
	_ = json.NewEncoder(w).Encode(v)
}
