package sessionkey

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Source is one place that can hold a session key, ready to be read.
type Source interface {
	// Spec is the source as it is compared with others and as it travels.
	Spec() statefulroute.SessionSource
	// RequestHeaders are those that Envoy has to forward, in lower case.
	RequestHeaders() []string
	// Keys calls take with each session key that a request carries there, in order,
	// until it wants no more: a client may send several of one name.
	Keys(h Headers, take func(key string) (more bool))
	// AnyValue reports whether is holds for a value that a request carries there,
	// before or after its decoding, and however a pod may take it apart.
	AnyValue(h Headers, is func(string) bool) bool
}

// Learner is a Source in which a response can name a session, too.
type Learner interface {
	Source
	// ResponseHeaders are those that Envoy has to forward, in lower case.
	ResponseHeaders() []string
	// Learned returns the session ids that a response names there and that its client
	// keeps after now.
	Learned(h Headers, now time.Time) []string
}

// kind is a row in the table of kinds.
type kind struct {
	name statefulroute.SourceKind
	// params are the texts that a source of the kind is configured by; nil for a kind
	// that takes a single one, its Name.
	params []string
	// open makes a source, or refuses it.
	open func(s statefulroute.SessionSource, refuse Refuse) Source
}

// Refuse is told of a fault in the param of that name, or, where it is "", in the
// source's Name.
type Refuse func(param, reason string)

// kinds are all kinds of source, in the order in which messages list them.
func kinds() []kind {
	return []kind{
		{name: statefulroute.FromHeader, open: openHeader},
		{name: statefulroute.FromCookie, open: openCookie},
		{name: statefulroute.FromQuery, open: openQuery},
		{name: statefulroute.FromPath, open: openPath},
		{name: FromJWT, params: []string{jwtHeader, jwtClaim}, open: openJWT},
	}
}

// Kinds returns the names of all kinds of source.
func Kinds() []statefulroute.SourceKind {
	var names []statefulroute.SourceKind
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// Params returns the names of what a source of the kind is configured by; none for a
// kind that takes a single text, its Name.
func Params(name statefulroute.SourceKind) []string {
	k, _ := kindOf(name)
	return k.params
}

func kindOf(name statefulroute.SourceKind) (kind, bool) {
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return all[i], true
}

// Open makes a source ready to be read. It returns nil for one that was refused.
func Open(s statefulroute.SessionSource, refuse Refuse) Source {
	k, ok := kindOf(s.Kind)
	if !ok {
		refuse("", "unknown kind of source")
		return nil
	}
	bad := false
	source := k.open(s, func(param, reason string) {
		bad = true
		refuse(param, reason)
	})
	if bad {
		return nil
	}
	return source
}

// open is Open with what was refused as an error.
func open(s statefulroute.SessionSource) (Source, error) {
	var faults []error
	source := Open(s, func(param, reason string) {
		if param != "" {
			reason = param + ": " + reason
		}
		faults = append(faults, errors.New(reason))
	})
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("session key from %s %q: %w", s.Kind, s.Name, err)
	}
	return source, nil
}

// isToken reports whether a text is a name as HTTP's headers and cookies have.
func isToken(text string) bool { return tokenPattern.MatchString(text) }

var tokenPattern = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
