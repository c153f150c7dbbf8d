package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// pods answers as three demo pods do behind a router that, from a session's request
// number `astray` on, sends it to the next pod; 0 means never.
func pods(astray int) http.Handler {
	var mu sync.Mutex
	visits := map[string]int{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		session := r.Header.Get("X-Session-Id")
		visits[session]++
		pod := len(session) + int(session[len(session)-1])
		if astray > 0 && visits[session] >= astray {
			pod++
		}
		_, _ = fmt.Fprintf(w, `{"pod":"chat-%d","visits":%d}`, pod%3, visits[session])
	})
}

func serve(t *testing.T, h http.Handler) (string, *http.Client) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL, s.Client()
}

func TestASessionThatGoesAstrayIsFound(t *testing.T) {
	for astray, want := range map[int]string{0: "", requests: "its pod is"} {
		var at target
		at.envoy, at.client = serve(t, pods(astray))
		_, err := at.sessionsHold(t.Context())
		if want == "" && err != nil {
			t.Errorf("nothing astray: %v", err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("astray at request %d: %v", astray, err)
		}
	}
}

func TestATargetThatIsDownIsNamed(t *testing.T) {
	var at target
	at.prometheus, at.client = serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":{"activeTargets":[{"labels":{"job":"envoy"},"health":"down","lastError":"refused"}]}}`))
	}))
	if _, err := at.targetsUp(t.Context()); err == nil || !strings.Contains(err.Error(), "envoy is down: refused") {
		t.Errorf("got %v", err)
	}
}

func TestAPanelWithoutDataIsFound(t *testing.T) {
	for answer, want := range map[string]string{
		`[]`:                    "no data for q",
		`[{"value":[1,"NaN"]}]`: "no data for q",
		`[{"value":[1,"NaN"]},{"value":[1,"0.02"]}]`: "",
	} {
		var at target
		at.prometheus, at.client = serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"data":{"result":` + answer + `}}`))
		}))
		err := at.hasNumber(t.Context(), "q")
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, want %q", answer, err, want)
		}
	}
}

func TestAMissingTargetIsFound(t *testing.T) {
	var at target
	at.prometheus, at.client = serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":{"activeTargets":[{"labels":{"job":"envoy"},"health":"up"}]}}`))
	}))
	if _, err := at.targetsUp(t.Context()); err == nil || !strings.Contains(err.Error(), "targets are [envoy]") {
		t.Errorf("got %v", err)
	}
}

func TestReplicasThatDoNotShareAreFound(t *testing.T) {
	replicas := func(incarnation, state string, left float64, n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			one := fmt.Sprintf(`{"id":"a","store":%q,"lease_left_seconds":%v}`, state, left)
			_, _ = fmt.Fprintf(w, `{"store":{"state":"open","incarnation":%q},"replicas":[%s]}`, incarnation, strings.Repeat(one+",", n-1)+one)
		}
	}
	for want, h := range map[string]http.HandlerFunc{
		"":                       replicas("one", "open", 2, 2),
		"there are 1 replicas":   replicas("one", "open", 2, 1),
		"a has no lease":         replicas("one", "open", 0, 2),
		"the store is open at ":  replicas("", "open", 2, 2),
		"a has no lease, as htt": replicas("one", "unreachable", 2, 2),
	} {
		var at target
		var url string
		url, at.client = serve(t, h)
		_, err := at.sharedBy(t.Context(), url)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
