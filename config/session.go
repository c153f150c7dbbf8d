package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/net/http/httpguts"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
)

type rawSession struct {
	Key           []rawSource `yaml:"key" is:"a list of sources|- {header: x-session-id}"`
	Learn         []rawSource `yaml:"learn" is:"a list of sources|- {header: mcp-session-id}"`
	Issue         *rawIssue   `yaml:"issue"`
	End           []rawEnd    `yaml:"end" is:"a list of requests|- {method: DELETE}"`
	IdleTimeout   *duration   `yaml:"idle_timeout"`
	OnPodLoss     *string     `yaml:"on_pod_loss"`
	OnExtprocLoss *string     `yaml:"on_extproc_loss"`
	EpochHeader   *bool       `yaml:"epoch_header"`
	OnStoreLoss   *string     `yaml:"on_store_loss"`
	FastPath      *bool       `yaml:"fast_path"`
}

type rawEnd struct {
	Method string  `yaml:"method"`
	Path   *string `yaml:"path"`
}

// rawSource is a source by its kind: a text or, for some kinds, a group of texts.
type rawSource map[string]yaml.Node

// sourceFields is a struct with what a source may hold, by the table of kinds.
func sourceFields() reflect.Type {
	text := reflect.TypeFor[*string]()
	var kinds []reflect.StructField
	for _, kind := range sessionkey.Kinds() {
		shape := text
		var params []reflect.StructField
		for _, param := range sessionkey.Params(kind) {
			params = append(params, yamlField(len(params), param, text))
		}
		if params != nil {
			shape = reflect.PointerTo(reflect.StructOf(params))
		}
		kinds = append(kinds, yamlField(len(kinds), string(kind), shape))
	}
	return reflect.StructOf(kinds)
}

func yamlField(i int, name string, t reflect.Type) reflect.StructField {
	return reflect.StructField{Name: fmt.Sprintf("Field%d", i), Type: t, Tag: reflect.StructTag(fmt.Sprintf("yaml:%q", name))}
}

func (raw *rawSession) check(doc *document, at path) statefulroute.SessionPolicy {
	s := statefulroute.SessionPolicy{
		IdleTimeout:   orDuration(raw.IdleTimeout, 0),
		OnPodLoss:     statefulroute.PodLossPolicy(or(raw.OnPodLoss, string(statefulroute.Rebind))),
		OnExtprocLoss: statefulroute.ExtprocLossPolicy(or(raw.OnExtprocLoss, string(statefulroute.Allow))),
		EpochHeader:   or(raw.EpochHeader, false),
		OnStoreLoss:   statefulroute.StoreLossPolicy(or(raw.OnStoreLoss, string(statefulroute.AllowStoreLoss))),
		FastPath:      or(raw.FastPath, true),
	}
	raw.sources(doc, at, &s)
	s.Issue = raw.Issue.policy(doc, at.With("issue"))
	// A learned or issued id that is no key source would never be recognised
	// when the client brings it back.
	for _, src := range slices.Concat(s.Learn, issuedSource(s.Issue)) {
		if !slices.ContainsFunc(s.Key, src.Equal) {
			s.Key = append(s.Key, src)
		}
	}
	for i, end := range raw.End {
		s.End = append(s.End, end.check(doc, at.With("end", i)))
	}
	if len(s.End) > 0 && len(s.Key) == 0 {
		doc.Refuse(at.With("end"), "needs key, learn or issue: without them there is no session that could end")
	}
	if s.EpochHeader && len(s.Key) == 0 {
		doc.Refuse(at.With("epoch_header"), "needs key, learn or issue: without them no request is bound, and none has an epoch")
	}
	if s.IdleTimeout < 0 {
		doc.Refuse(at.With("idle_timeout"), "must not be negative")
	}
	if s.OnPodLoss != statefulroute.Rebind && s.OnPodLoss != statefulroute.Reject {
		doc.Refuse(at.With("on_pod_loss"), "%q must be rebind or reject", s.OnPodLoss)
	}
	if s.OnExtprocLoss != statefulroute.Allow && s.OnExtprocLoss != statefulroute.Deny {
		doc.Refuse(at.With("on_extproc_loss"), "%q must be allow or deny", s.OnExtprocLoss)
	}
	if s.OnStoreLoss != statefulroute.AllowStoreLoss && s.OnStoreLoss != statefulroute.DenyStoreLoss {
		doc.Refuse(at.With("on_store_loss"), "%q must be allow or deny", s.OnStoreLoss)
	}
	return s
}

// sources reads where requests and responses name a session.
func (raw *rawSession) sources(doc *document, at path, s *statefulroute.SessionPolicy) {
	for i, src := range raw.Key {
		if source := src.open(doc, at.With("key", i)); source != nil {
			s.Key = append(s.Key, source.Spec())
		}
	}
	for i, src := range raw.Learn {
		where := at.With("learn", i)
		source := src.open(doc, where)
		if source == nil {
			continue
		}
		if _, ok := source.(sessionkey.Learner); !ok {
			doc.Refuse(where, "a response cannot name a session by %s", notLearned(source.Spec()))
		}
		s.Learn = append(s.Learn, source.Spec())
	}
}

func (raw rawEnd) check(doc *document, at path) statefulroute.SessionEnd {
	switch {
	case raw.Method == "":
		doc.Refuse(at, "method is missing")
	case !httpguts.ValidHeaderFieldName(raw.Method) || raw.Method != strings.ToUpper(raw.Method):
		doc.Refuse(at.With("method"), "%q is not a method, such as DELETE: upper case counts", raw.Method)
	}
	pattern := or(raw.Path, "")
	if raw.Path != nil && pattern == "" {
		doc.Refuse(at.With("path"), "must not be empty: leave it out for any path")
	}
	if _, err := regexp.Compile(pattern); err != nil {
		doc.Refuse(at.With("path"), "not an RE2 pattern: %v", err)
	}
	return statefulroute.SessionEnd{Method: raw.Method, Path: pattern}
}

func issuedSource(c *statefulroute.IssuedCookie) []statefulroute.SessionSource {
	if c == nil {
		return nil
	}
	return []statefulroute.SessionSource{{Kind: statefulroute.FromCookie, Name: c.Name}}
}

// notLearned is a source as a refusal names it: headers can be learned, but for one.
func notLearned(s statefulroute.SessionSource) string {
	if s.Kind == statefulroute.FromHeader {
		return string(s.Kind) + " " + s.Name
	}
	return string(s.Kind)
}

// open returns the source, nil for one that was refused.
func (raw rawSource) open(doc *document, at path) sessionkey.Source {
	var kinds []statefulroute.SourceKind
	for _, kind := range sessionkey.Kinds() {
		if value, ok := raw[string(kind)]; ok && value.ShortTag() != "!!null" {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) != 1 {
		doc.Refuse(at, "exactly one of %s is needed, found %d", listOf(sessionkey.Kinds()), len(kinds))
		return nil
	}
	s := statefulroute.SessionSource{Kind: kinds[0]}
	at = at.With(string(s.Kind))
	value := raw[string(s.Kind)]
	into := any(&s.Name)
	if sessionkey.Params(s.Kind) != nil {
		into = &s.Params
	}
	if err := value.Decode(into); err != nil { // shape has refused it before
		doc.Refuse(at, "%v", err)
		return nil
	}
	return sessionkey.Open(s, func(param, reason string) {
		where := at
		if param != "" {
			where = at.With(param)
		}
		doc.Refuse(where, "%s", reason)
	})
}

// listOf is names as a sentence has them: a, b and c.
func listOf(names []statefulroute.SourceKind) string {
	var b strings.Builder
	for i, name := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			b.WriteString(" and ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(name))
	}
	return b.String()
}
