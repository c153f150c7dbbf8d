package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// What Envoy and extproc tell each other in headers no pod sees, and what they tell clients
// no pod can say, whoever decides about a request.
func TestOurHeadersStayInside(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]harness.FastPath{"callout": harness.FastPathOff, "module": harness.FastPathOn} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var leaked sync.Map
			svc, plain, issuing := homeless(), harness.Chat(3), harness.Chat(3)
			plain.Name, plain.Match, plain.Session = "plain", map[string]any{"hosts": []string{"*"}, "prefix": "/plain"}, harness.Session{}
			issuing.Name, issuing.Match = "issuing", map[string]any{"hosts": []string{"*"}, "prefix": "/issuing"}
			issuing.Session.Issue = map[string]string{"cookie": "stateful-route", "ttl": "1h"}
			for _, svc := range []*harness.Service{&svc, &plain, &issuing} {
				answeringPods(t, svc, func(_ int, w http.ResponseWriter, r *http.Request) {
					for h := range r.Header {
						if strings.HasPrefix(strings.ToLower(h), "x-stateful-route") {
							leaked.Store(r.Method+" "+r.URL.Path+": "+h, true)
						}
					}
					w.Header().Set("X-Stateful-Route-Pod", "another")
					w.Header().Set("X-Stateful-Route-Reason", "a pod's")
				})
			}
			s := start(t, harness.Options{FastPath: path, Services: []harness.Service{svc, plain, issuing}})
			checkOurHeaders(t, s, path)
			leaked.Range(func(what, _ any) bool {
				t.Errorf("a pod saw %v", what)
				return true
			})
		})
	}
}

// checkOurHeaders sends requests of known and of new sessions, and without one.
func checkOurHeaders(t *testing.T, s *harness.Stack, path harness.FastPath) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "the session is known", func() error {
		if _, err := s.OK(harness.InHeader("known")); err != nil || path == harness.FastPathOff {
			return err
		}
		if n, err := s.FastPathRequests("hit"); err != nil || n == 0 {
			return errNotYet
		}
		return nil
	})
	https := harness.RawHeader("X-Forwarded-Proto", "https")
	post := func(r *http.Request) { r.Method = http.MethodPost }
	put := func(r *http.Request) { r.Method, r.Body, r.ContentLength = http.MethodPut, http.NoBody, -1 }
	for _, where := range []string{"/", "/plain", "/issuing"} {
		for _, how := range []harness.Edit{func(*http.Request) {}, post, put} {
			for _, who := range []harness.Edit{harness.InHeader("known"), harness.InHeader("new" + where), func(*http.Request) {}} {
				a, err := s.OK(harness.Path(where), https, how, who)
				if err != nil {
					t.Error(err)
				}
				for _, h := range []string{"X-Stateful-Route-Pod", "X-Stateful-Route-Reason"} {
					if v := a.Header[h]; v != nil {
						t.Errorf("%s: the client was told %s: %q", where, h, v)
					}
				}
			}
		}
	}
}
