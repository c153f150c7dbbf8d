package extproc

import (
	"strings"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Mover puts a session on a pod whatever it was bound to.
type Mover interface {
	Move(service, key, to string, now time.Time) (statefulroute.Binding, error)
}

// learnSources prepares the places where a response may name a session.
func learnSources(sources []statefulroute.SessionSource) []statefulroute.SessionSource {
	out := make([]statefulroute.SessionSource, len(sources))
	for i, s := range sources {
		if s.Kind == statefulroute.FromHeader {
			s.Name = strings.ToLower(s.Name)
		}
		out[i] = s
	}
	return out
}

// learnedID reads a session id from the headers of a response, "" for none.
func learnedID(source statefulroute.SessionSource, h headers) string {
	id := ""
	if source.Kind == statefulroute.FromHeader {
		id = h.value(source.Name)
	} else {
		id = learnedCookie(source.Name, h)
	}
	if len(id) > MaxKey {
		return ""
	}
	return id
}

// learnedCookie returns what the last Set-Cookie of that name says, which is
// what a client keeps.
func learnedCookie(name string, h headers) string {
	id := ""
	for _, v := range h {
		if v.GetKey() != "set-cookie" {
			continue
		}
		if c := setCookieValue(headerText(v), name); c != "" {
			id = c
		}
	}
	return id
}

// learn binds every session id that a response names to the pod that served it.
func (x *exchange) learn(h headers, served *podView, now time.Time) {
	if served == nil {
		return
	}
	for _, source := range x.service.learn {
		// A pod that repeats the id it was asked for has not created it.
		if id := learnedID(source, h); id != "" && (id != x.key || x.decision.pod == nil) {
			x.own(id, served, now)
		}
	}
}

// own makes pod the owner of a session it created, before the client can hear
// of the session.
func (x *exchange) own(id string, pod *podView, now time.Time) {
	s, name := x.server, x.service.policy.Name
	table, _ := x.cores()
	b, won, err := table.Claim(name, id, pod.Name, now)
	if err == nil && !won && b.Pod != pod.Name {
		won = true
		_, err = s.table.Move(name, id, pod.Name, now)
	}
	if err != nil {
		s.log.Warn("learned session not bound", zap.String("service", name),
			zap.String("session", s.hasher.hash(name, id)), zap.String("pod", pod.Name), zap.Error(err))
		return
	}
	if won {
		x.service.balancer.AddSessions(pod.Name, 1)
	}
}
