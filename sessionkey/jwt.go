package sessionkey

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	statefulroute "github.com/stateful-route/stateful-route"
)

// FromJWT is the kind of source that is a claim of a JSON Web Token.
const FromJWT statefulroute.SourceKind = "jwt"

// The params of a jwtSource.
const (
	jwtHeader = "header"
	jwtClaim  = "claim"
)

// maxToken bounds the token that is looked into; a longer one counts as absent. Envoy
// takes no more of headers.
const maxToken = 96 << 10

// jwtSource is a claim of the token in a header. The token is NOT verified: whoever
// writes one chooses the session. It may be used only behind something that verifies.
type jwtSource struct{ header, claim string }

func openJWT(s statefulroute.SessionSource, refuse Refuse) Source {
	claim := s.Params[jwtClaim]
	if claim == "" {
		refuse(jwtClaim, "is needed: the claim whose value is the session key")
	}
	header := checkHeader(s.Params[jwtHeader], func(reason string) { refuse(jwtHeader, reason) })
	return &jwtSource{header: header, claim: claim}
}

func (s *jwtSource) Spec() statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: FromJWT, Params: map[string]string{jwtHeader: s.header, jwtClaim: s.claim}}
}

func (s *jwtSource) RequestHeaders() []string { return []string{s.header} }

func (s *jwtSource) Keys(h Headers, take func(string) bool) {
	s.AnyValue(h, func(value string) bool { return !take(value) })
}

func (s *jwtSource) AnyValue(h Headers, is func(string) bool) bool {
	return h.anyValue(s.header, func(text string) bool { return is(claimOf(text, s.claim)) })
}

// claimOf returns a text or number among the claims of a token in its compact form,
// after the word Bearer or by itself. It returns "" where there is none, for any
// other value, and for what is no token.
func claimOf(text, claim string) string {
	if scheme, rest, found := strings.Cut(text, " "); found && strings.EqualFold(scheme, "bearer") {
		text = strings.TrimSpace(rest)
	}
	parts := strings.SplitN(text, ".", 4)
	if len(parts) != 3 || len(text) > maxToken || strings.Contains(parts[0], " ") {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(payload, &claims); err != nil {
		return ""
	}
	value := claims[claim]
	var word string
	if json.Unmarshal(value, &word) == nil {
		return word // of null it is ""
	}
	var number json.Number
	if json.Unmarshal(value, &number) == nil {
		return number.String()
	}
	return ""
}
