package sessionkey

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
)

// unverified is a token of the claims that nobody signed.
func unverified(claims string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(claims)) + "."
}

func claimSource(header, claim string) statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: FromJWT, Params: map[string]string{jwtHeader: header, jwtClaim: claim}}
}

func TestKeyFromAClaim(t *testing.T) {
	r, err := NewReader([]statefulroute.SessionSource{claimSource("Authorization", "sub"), from(statefulroute.FromCookie, "sid")})
	if err != nil {
		t.Fatal(err)
	}
	user := unverified(`{"iss":"x","sub":"user-1","a":{"sub":"nested"}}`)
	for name, c := range map[string]struct {
		headers Headers
		want    string
	}{
		"bearer":                    {raw("authorization", "Bearer "+user), "user-1"},
		"bearer in lower case":      {raw("authorization", "bearer  "+user), "user-1"},
		"by itself":                 {raw("authorization", user), "user-1"},
		"signed":                    {raw("authorization", "Bearer "+user+"c2lnbmF0dXJl"), "user-1"},
		"number":                    {raw("authorization", unverified(`{"sub":12345678901234567890}`)), "12345678901234567890"},
		"absent":                    {raw("authorization", unverified(`{"iss":"x"}`), "cookie", "sid=b"), "b"},
		"empty":                     {raw("authorization", unverified(`{"sub":""}`), "cookie", "sid=b"), "b"},
		"null":                      {raw("authorization", unverified(`{"sub":null}`), "cookie", "sid=b"), "b"},
		"neither text nor number":   {raw("authorization", unverified(`{"sub":["a"]}`), "cookie", "sid=b"), "b"},
		"nested":                    {raw("authorization", unverified(`{"sub":{"sub":"a"}}`), "cookie", "sid=b"), "b"},
		"no JSON":                   {raw("authorization", unverified(`sub`), "cookie", "sid=b"), "b"},
		"no base64":                 {raw("authorization", "Bearer a.%.c", "cookie", "sid=b"), "b"},
		"two parts":                 {raw("authorization", strings.TrimSuffix(user, "."), "cookie", "sid=b"), "b"},
		"another scheme":            {raw("authorization", "Basic "+user, "cookie", "sid=b"), "b"},
		"a second header":           {raw("authorization", "Basic YTpi", "authorization", "Bearer "+user), "user-1"},
		"a token that is too long":  {raw("authorization", unverified(`{"sub":"a","x":"`+strings.Repeat("x", maxToken)+`"}`), "cookie", "sid=b"), "b"},
		"a key that is too long":    {raw("authorization", unverified(`{"sub":"`+strings.Repeat("x", MaxKey+1)+`"}`), "cookie", "sid=b"), "b"},
		"no header":                 {raw("cookie", "sid=b"), "b"},
		"a claim with another case": {raw("authorization", unverified(`{"SUB":"a"}`), "cookie", "sid=b"), "b"},
	} {
		if got := firstKey(r, c.headers); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// A pod that repeats the claim of a token has not created a session.
func TestARequestCarriesItsClaim(t *testing.T) {
	r, err := NewReader([]statefulroute.SessionSource{claimSource("authorization", "sub")})
	if err != nil {
		t.Fatal(err)
	}
	c := r.Carried(raw("authorization", unverified(`{"sub":"a"}`), "authorization", unverified(`{"sub":"b"}`)))
	if !c.Names("a") || !c.Names("B") || c.Names("c") {
		t.Errorf("carries %v", c)
	}
}

func TestBadClaimSourcesAreRefused(t *testing.T) {
	for want, s := range map[string]statefulroute.SessionSource{
		`header: "" is not a header name`:                 claimSource("", "sub"),
		`header: "x-stateful-route-pod" is internal`:      claimSource("x-stateful-route-pod", "sub"),
		"claim: is needed":                                claimSource("authorization", ""),
		"claim: is needed: the claim whose value is the ": from(FromJWT, "sub"),
	} {
		if _, err := open(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", s, err, want)
		}
	}
	source, err := open(claimSource("authorization", "sub"))
	if _, learns := source.(Learner); err != nil || learns {
		t.Errorf("a response names no session by a token: %v", err)
	}
}

// FuzzClaim compares with encoding/json what a token's payload says, and looks for
// panics in what is none.
func FuzzClaim(f *testing.F) {
	for _, s := range []string{`{"sub":"a"}`, `{"sub":1e3}`, `{"sub":null,"sub":"b"}`, `{"sub":true}`, `[]`, `{"sub":"\ud800"}`, ``} {
		f.Add(s, "Bearer "+unverified(s))
	}
	f.Fuzz(func(t *testing.T, payload, header string) {
		if key := claimOf(header, "sub"); len(key) > len(header) {
			t.Errorf("%q: a claim of %d bytes", header, len(key))
		}
		if len(unverified(payload)) > maxToken {
			t.Skip()
		}
		want := ""
		var claims map[string]any
		d := json.NewDecoder(bytes.NewReader([]byte(payload)))
		d.UseNumber()
		if d.Decode(&claims) == nil && json.Valid([]byte(payload)) {
			switch v := claims["sub"].(type) {
			case string:
				want = v
			case json.Number:
				want = v.String()
			}
		}
		if got := claimOf("Bearer "+unverified(payload), "sub"); got != want {
			t.Errorf("%q: got %q, encoding/json says %q", payload, got, want)
		}
	})
}
