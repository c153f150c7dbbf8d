package config

import (
	"regexp"
	"slices"
	"strings"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

type rawSession struct {
	Key   []rawSource `yaml:"key" is:"a list of sources|- {header: x-session-id}"`
	Learn []rawSource `yaml:"learn" is:"a list of sources|- {header: mcp-session-id}"`
	Issue *struct {
		Cookie string    `yaml:"cookie"`
		TTL    *duration `yaml:"ttl"`
	} `yaml:"issue"`
	IdleTimeout   *duration `yaml:"idle_timeout"`
	OnPodLoss     *string   `yaml:"on_pod_loss"`
	OnExtprocLoss *string   `yaml:"on_extproc_loss"`
}

type rawSource struct {
	Header *string `yaml:"header"`
	Cookie *string `yaml:"cookie"`
	Query  *string `yaml:"query"`
	Path   *string `yaml:"path"`
}

func (raw *rawSession) check(doc *document, at path) statefulroute.SessionPolicy {
	s := statefulroute.SessionPolicy{
		IdleTimeout:   orDuration(raw.IdleTimeout, 0),
		OnPodLoss:     statefulroute.PodLossPolicy(or(raw.OnPodLoss, string(statefulroute.Rebind))),
		OnExtprocLoss: statefulroute.ExtprocLossPolicy(or(raw.OnExtprocLoss, string(statefulroute.Allow))),
	}
	for i, src := range raw.Key {
		s.Key = append(s.Key, src.check(doc, at.with("key", i)))
	}
	for i, src := range raw.Learn {
		where := at.with("learn", i)
		source := src.check(doc, where)
		if source.Kind == statefulroute.FromQuery || source.Kind == statefulroute.FromPath {
			doc.refuse(where, "a response names a session by header or cookie, not by %s", source.Kind)
		}
		s.Learn = append(s.Learn, source)
	}
	raw.checkIssue(doc, at, &s)
	// A learned or issued id that is no key source would never be recognised
	// when the client brings it back.
	for _, src := range slices.Concat(s.Learn, issuedSource(s.Issue)) {
		if !slices.Contains(s.Key, src) {
			s.Key = append(s.Key, src)
		}
	}
	if s.IdleTimeout < 0 {
		doc.refuse(at.with("idle_timeout"), "must not be negative")
	}
	if s.OnPodLoss != statefulroute.Rebind && s.OnPodLoss != statefulroute.Reject {
		doc.refuse(at.with("on_pod_loss"), "%q must be rebind or reject", s.OnPodLoss)
	}
	if s.OnExtprocLoss != statefulroute.Allow && s.OnExtprocLoss != statefulroute.Deny {
		doc.refuse(at.with("on_extproc_loss"), "%q must be allow or deny", s.OnExtprocLoss)
	}
	return s
}

func (raw *rawSession) checkIssue(doc *document, at path, s *statefulroute.SessionPolicy) {
	if raw.Issue == nil {
		return
	}
	s.Issue = &statefulroute.IssuedCookie{Name: raw.Issue.Cookie, TTL: orDuration(raw.Issue.TTL, 0)}
	if !token.MatchString(s.Issue.Name) {
		doc.refuse(at.with("issue", "cookie"), "%q is not a cookie name", s.Issue.Name)
	}
	if s.Issue.TTL < 0 {
		doc.refuse(at.with("issue", "ttl"), "must not be negative")
	}
}

func issuedSource(c *statefulroute.IssuedCookie) []statefulroute.SessionSource {
	if c == nil {
		return nil
	}
	return []statefulroute.SessionSource{{Kind: statefulroute.FromCookie, Name: c.Name}}
}

func (raw *rawSource) check(doc *document, at path) statefulroute.SessionSource {
	if n := count(raw.Header != nil, raw.Cookie != nil, raw.Query != nil, raw.Path != nil); n != 1 {
		doc.refuse(at, "exactly one of header, cookie, query and path is needed, found %d", n)
		return statefulroute.SessionSource{}
	}
	switch {
	case raw.Header != nil:
		name := strings.ToLower(*raw.Header)
		if !token.MatchString(name) {
			doc.refuse(at.with("header"), "%q is not a header name", *raw.Header)
		}
		if strings.HasPrefix(name, wire.HeaderPrefix) {
			doc.refuse(at.with("header"), "%q is internal: it is stripped from requests", *raw.Header)
		}
		return statefulroute.SessionSource{Kind: statefulroute.FromHeader, Name: name}
	case raw.Cookie != nil:
		if !token.MatchString(*raw.Cookie) {
			doc.refuse(at.with("cookie"), "%q is not a cookie name", *raw.Cookie)
		}
		return statefulroute.SessionSource{Kind: statefulroute.FromCookie, Name: *raw.Cookie}
	case raw.Query != nil:
		if *raw.Query == "" {
			doc.refuse(at.with("query"), "must not be empty")
		}
		return statefulroute.SessionSource{Kind: statefulroute.FromQuery, Name: *raw.Query}
	default:
		doc.checkPattern(at.with("path"), *raw.Path)
		return statefulroute.SessionSource{Kind: statefulroute.FromPath, Name: *raw.Path}
	}
}

func (d *document) checkPattern(at path, pattern string) {
	re, err := regexp.Compile(pattern)
	switch {
	case err != nil:
		d.refuse(at, "not an RE2 pattern: %v", err)
	case re.NumSubexp() == 0:
		d.refuse(at, "%q needs a group (…): its first group is the session key", pattern)
	}
}
