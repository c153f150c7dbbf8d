package e2e

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// A session is whose token says so, whatever else the token says, in place of its
// signature, too: nobody here verifies it.
func TestSessionsByTheClaimOfAToken(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.Key = []map[string]any{
		{"jwt": map[string]string{"header": "authorization", "claim": "sub"}}, {"header": "x-session-id"},
	}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	token := func(claims string) harness.Edit {
		part := base64.RawURLEncoding.EncodeToString
		return harness.RawHeader("Authorization", "Bearer "+part([]byte(`{"alg":"RS256"}`))+"."+part([]byte(claims))+"."+part([]byte(claims)))
	}
	podOf := func(edits ...harness.Edit) string {
		a, err := s.OK(edits...)
		if err != nil {
			t.Fatal(err)
		}
		return a.Pod
	}
	seen := map[string]int{}
	for _, key := range harness.Keys(50) {
		pod := podOf(token(fmt.Sprintf(`{"jti":"first","sub":%q}`, key)))
		seen[pod]++
		for what, again := range map[string]string{
			"another token":           podOf(token(fmt.Sprintf(`{"sub":%q,"jti":"second"}`, key))),
			"the next source":         podOf(harness.InHeader(key)),
			"a token without a claim": podOf(harness.InHeader(key), token(`{"iss":"x"}`)),
		} {
			if again != pod {
				t.Errorf("session %s is on %s, and by %s on %s", key, pod, what, again)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("the sessions are on %v, want some on each pod", seen)
	}
}
