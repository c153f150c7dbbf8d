package pod

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/websocket"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// The suite's own orders to a pod carry its secret, so that nobody gives them
// through the gateway.
const (
	secretHeader = "Stickiness-Secret"
	healthOrder  = "/-/health"
	stallsOrder  = "/-/stalls"
)

// server is a pod's HTTP side.
type server struct {
	memory     *memory
	key        gateway.Key
	healthPath string
	sick       atomic.Bool
	stalls     *Watch
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+s.healthPath, s.health)
	mux.HandleFunc("POST "+healthOrder, s.ordered(s.setHealth))
	mux.HandleFunc("GET "+stallsOrder, s.ordered(s.tellStalls))
	mux.HandleFunc("GET "+EventsPath, s.events)
	// Without a Handshake every origin may connect, and a client need not have one.
	mux.Handle("GET "+SocketPath, websocket.Server{Handler: s.socket})
	mux.HandleFunc("POST "+TalkPath, s.talk)
	mux.HandleFunc("/", s.visit)
	return mux
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	if s.sick.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (s *server) ordered(do http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(secretHeader)), s.memory.secret) != 1 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		do(w, r)
	}
}

func (s *server) setHealth(w http.ResponseWriter, r *http.Request) {
	good, err := strconv.ParseBool(r.URL.Query().Get("good"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.sick.Store(!good)
}

func (s *server) tellStalls(w http.ResponseWriter, _ *http.Request) {
	_ = json.NewEncoder(w).Encode(s.stalls.Stalls()) // whoever asked may be gone
}

// visit answers one request. Clients need not repeat it from a cache.
func (s *server) visit(w http.ResponseWriter, r *http.Request) {
	key := s.teach(w.Header(), r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(s.answer(r, key, r.Header.Get(NonceHeader))) // the client may be gone
}

func (s *server) answer(r *http.Request, key, nonce string) Answer {
	return s.memory.visit(r.Header.Get(SessionHeader), key, nonce, time.Now())
}

// keyOf is the gateway's key as it arrived.
func (s *server) keyOf(r *http.Request) string {
	if s.key.InCookie() {
		return CookieValue(r.Header, s.key.Name)
	}
	return strings.Join(r.Header.Values(s.key.Name), ",")
}

// teach returns the hash of the session's key, and names a new session to the
// gateway that is to learn it. A cookie that the gateway issued is its own affair:
// it may well keep it from pods.
func (s *server) teach(h http.Header, r *http.Request) string {
	if s.key.Kind == gateway.IssuedCookie {
		return ""
	}
	value := s.keyOf(r)
	if value == "" {
		value = rand.Text()
		switch s.key.Kind {
		case gateway.LearnedCookie:
			h.Add("Set-Cookie", s.key.Name+"="+value+"; Path=/; HttpOnly")
		case gateway.LearnedHeader:
			h.Set(s.key.Name, value)
		default:
			return "" // the gateway lost it
		}
	}
	return HashKey(value)
}

// CookieValue is the first value of the cookie name, taken literally: what is not
// to a parser's taste is an id all the same.
func CookieValue(h http.Header, name string) string {
	for _, line := range h.Values("Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			if n, value, found := strings.Cut(strings.TrimSpace(pair), "="); found && n == name {
				return value
			}
		}
	}
	return ""
}
