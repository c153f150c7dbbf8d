package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/adminhttp"
	"github.com/stateful-route/stateful-route/insight/tracing"
	"github.com/stateful-route/stateful-route/sessionkey"
)

// Bounds of one page of sessions.
const (
	defaultPage = 100
	maxPage     = 1000
)

// sessionJSON is one session as the admin API shows it. Path leads to the
// session whatever bytes its key holds, those that JSON cannot carry included. Of a
// session whose binding was evicted only the pod is known.
type sessionJSON struct {
	Service     string    `json:"service"`
	Key         string    `json:"key"`
	Pod         string    `json:"pod"`
	PreviousPod string    `json:"previous_pod"`
	Epoch       uint64    `json:"epoch"`
	Created     time.Time `json:"created,omitzero"`
	LastSeen    time.Time `json:"last_seen,omitzero"`
	Requests    uint64    `json:"requests"`
	InFlight    int       `json:"in_flight"`
	Evicted     bool      `json:"evicted,omitempty"`
	Path        string    `json:"path"`
}

func toSessionJSON(b statefulroute.Binding) sessionJSON {
	return sessionJSON{
		Service: b.Service, Key: b.Key, Pod: b.Pod, PreviousPod: b.PreviousPod, Epoch: b.Epoch,
		Created: b.Created, LastSeen: b.LastSeen, Requests: b.Requests, InFlight: b.InFlight,
		Path: sessionPath + escapeSegment(b.Service) + "/" + escapeSegment(b.Key),
	}
}

// escapeSegment also escapes the dots that clients take for "this" and "up".
func escapeSegment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

// list serves one page of sessions.
func (a *admin) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := defaultPage
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			adminhttp.WriteError(w, http.StatusBadRequest, fmt.Errorf("limit %q is not a number from 1 to %d", text, maxPage))
			return
		}
		limit = n
	}
	page, next, err := a.Lister.List(r.Context(), q.Get("service"), q.Get("pod"), limit, q.Get("after"))
	switch {
	case errors.Is(err, statefulroute.ErrCursor):
		adminhttp.WriteError(w, http.StatusBadRequest, fmt.Errorf("after %q is %w", q.Get("after"), err))
		return
	case err != nil:
		adminhttp.WriteError(w, http.StatusServiceUnavailable, err)
		return
	}
	// A service that is gone may have sessions left; without any, its name is
	// more likely a mistake than a service that nobody uses.
	if service := q.Get("service"); service != "" && len(page) == 0 && q.Get("after") == "" && !a.Directory.Has(service) {
		writeNoService(w, service)
		return
	}
	sessions := make([]sessionJSON, len(page))
	for i, b := range page {
		sessions[i] = toSessionJSON(b)
	}
	adminhttp.WriteJSON(w, http.StatusOK, struct {
		Sessions []sessionJSON `json:"sessions"`
		Next     string        `json:"next"`
	}{sessions, next})
}

// session serves one session; path is SERVICE/KEY, still escaped. Everything
// after the first slash is the key, so one that holds slashes may come escaped
// or as it is.
func (a *admin) session(w http.ResponseWriter, r *http.Request, path string) {
	service, key, err := splitSession(path)
	if err != nil {
		adminhttp.WriteError(w, http.StatusBadRequest, err)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		a.show(w, r, service, key)
	case http.MethodPut:
		a.move(w, r, service, key)
	case http.MethodDelete:
		a.forget(w, r, service, key)
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT, DELETE")
		adminhttp.WriteError(w, http.StatusMethodNotAllowed, fmt.Errorf("%s is not possible on a session", r.Method))
	}
}

func splitSession(path string) (service, key string, err error) {
	service, key, _ = strings.Cut(path, "/")
	if service, err = url.PathUnescape(service); err != nil {
		return "", "", fmt.Errorf("service: %w", err)
	}
	if key, err = url.PathUnescape(key); err != nil {
		return "", "", fmt.Errorf("key: %w", err)
	}
	switch {
	case service == "" || key == "":
		return "", "", fmt.Errorf("a session is %sSERVICE/KEY", sessionPath)
	case len(key) > sessionkey.MaxKey:
		return "", "", fmt.Errorf("the key is longer than %d bytes", sessionkey.MaxKey)
	}
	if !sessionkey.IsTableKey(key) {
		key = sessionkey.TableKey(key)
	}
	return service, key, nil
}

func (a *admin) show(w http.ResponseWriter, r *http.Request, service, key string) {
	now := a.Now()
	b, err := a.Editor.Peek(r.Context(), service, key, now)
	if err == nil {
		adminhttp.WriteJSON(w, http.StatusOK, toSessionJSON(b))
		return
	}
	var pod string
	if errors.Is(err, statefulroute.ErrGone) {
		pod, err = a.Editor.Remembered(r.Context(), service, key, now)
	}
	if err != nil {
		a.writeNoSession(w, service, err)
		return
	}
	evicted := toSessionJSON(statefulroute.Binding{Service: service, Key: key, Pod: pod})
	evicted.Evicted = true
	adminhttp.WriteJSON(w, http.StatusOK, evicted)
}

// move binds a session to the pod an operator names, whether or not it had one.
func (a *admin) move(w http.ResponseWriter, r *http.Request, service, key string) {
	var body struct {
		Pod string `json:"pod"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		adminhttp.WriteError(w, http.StatusBadRequest, fmt.Errorf(`the body must be {"pod": "NAME"}: %w`, err))
		return
	}
	if code, err := a.mayServe(service, body.Pod); err != nil {
		adminhttp.WriteError(w, code, err)
		return
	}
	span := a.span(r, service)
	began := a.Now()
	b, err := a.Editor.Move(r.Context(), service, key, body.Pod, a.Now())
	if span.Recording() {
		span.At(began).TableSet(a.Directory.HashKey(service, key), b.Epoch, err)
	}
	if err != nil {
		span.End(http.StatusServiceUnavailable, err)
		adminhttp.WriteError(w, http.StatusServiceUnavailable, err)
		return
	}
	span.End(http.StatusOK, nil)
	a.Log.Info("session moved by an operator", zap.String("service", service),
		zap.String("session", a.Directory.HashKey(service, key)), zap.String("from", b.PreviousPod), zap.String("to", b.Pod), zap.Uint64("epoch", b.Epoch))
	adminhttp.WriteJSON(w, http.StatusOK, toSessionJSON(b))
}

// mayServe refuses to bind a session where it could not be served.
func (a *admin) mayServe(service, pod string) (code int, err error) {
	if !a.Directory.Has(service) {
		return http.StatusNotFound, noService(service)
	}
	switch state, ok := a.Directory.PodState(service, pod); {
	case !ok:
		return http.StatusUnprocessableEntity, fmt.Errorf("service %q has no pod %q", service, pod)
	case !state.ServesBound():
		return http.StatusConflict, fmt.Errorf("pod %q is %s: it serves no session", pod, state)
	}
	return 0, nil
}

func (a *admin) forget(w http.ResponseWriter, r *http.Request, service, key string) {
	span := a.span(r, service)
	began := a.Now()
	err := a.Editor.Delete(r.Context(), service, key)
	if span.Recording() {
		span.At(began).TableDelete(a.Directory.HashKey(service, key), err == nil)
	}
	if err != nil {
		span.End(a.writeNoSession(w, service, err), nil)
		return
	}
	span.End(http.StatusNoContent, nil)
	a.Log.Info("session forgotten by an operator", zap.String("service", service),
		zap.String("session", a.Directory.HashKey(service, key)))
	w.WriteHeader(http.StatusNoContent)
}

// flush forgets all sessions of a service; the path is its name, still escaped. A key
// that is missing, as in SERVICE/, is not taken for it.
func (a *admin) flush(w http.ResponseWriter, r *http.Request, path string) {
	service, err := url.PathUnescape(path)
	if err != nil {
		adminhttp.WriteError(w, http.StatusBadRequest, fmt.Errorf("service: %w", err))
		return
	}
	span := a.span(r, service)
	n, err := a.Editor.Flush(r.Context(), service)
	switch {
	case err != nil:
		span.End(http.StatusServiceUnavailable, err)
		adminhttp.WriteError(w, http.StatusServiceUnavailable, err)
		return
	case n == 0 && !a.Directory.Has(service):
		span.End(http.StatusNotFound, nil)
		writeNoService(w, service)
		return
	}
	span.End(http.StatusOK, nil)
	a.Log.Info("all sessions of a service forgotten by an operator", zap.String("service", service), zap.Int("sessions", n))
	adminhttp.WriteJSON(w, http.StatusOK, struct {
		Service   string `json:"service"`
		Forgotten int    `json:"forgotten"`
	}{service, n})
}

// span is that of an operator's change, below the operator's own if there is one.
func (a *admin) span(r *http.Request, service string) tracing.RequestSpan {
	_, span := a.Tracer.Request(r.Context(), nil, r.Header.Get, service)
	return span
}

// writeNoSession answers where the table gave no session, and returns the code.
func (a *admin) writeNoSession(w http.ResponseWriter, service string, err error) (code int) {
	switch {
	case !errors.Is(err, statefulroute.ErrGone):
		adminhttp.WriteError(w, http.StatusServiceUnavailable, err)
		return http.StatusServiceUnavailable
	case !a.Directory.Has(service):
		writeNoService(w, service)
	default:
		adminhttp.WriteError(w, http.StatusNotFound, errors.New("there is no such session"))
	}
	return http.StatusNotFound
}

func writeNoService(w http.ResponseWriter, service string) {
	adminhttp.WriteError(w, http.StatusNotFound, noService(service))
}

func noService(service string) error { return fmt.Errorf("there is no service %q", service) }
