package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// A drained pod keeps the sessions it has until an operator decides otherwise,
// and gets no other.
func TestDrainKeepsSessionsAndTakesNoNew(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{})
	keys := harness.Keys(1000)
	before := s.Load(keys, 1, 16, harness.InHeader).Owners(t)
	drained := harness.On(before, "chat-1")
	if len(drained) < 100 {
		t.Fatalf("the pod to drain has %d of 1,000 sessions", len(drained))
	}
	s.Order(t, "chat", "chat-1", "drain")
	began := time.Now()
	s.WaitClients(t)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the drain was in force after %v, want at most 2s", took)
	}
	fresh := s.Load(harness.Keys(500), 1, 16, harness.InHeader).Owners(t)
	if n := len(harness.On(fresh, "chat-1")); n > 0 {
		t.Errorf("%d of 500 new sessions are on the drained pod", n)
	}
	harness.SameOwners(t, before, s.Load(keys, 2, 16, harness.InHeader).Owners(t))

	s.Order(t, "chat", "chat-1", "maintenance")
	s.WaitClients(t)
	after := s.Load(keys, 1, 16, harness.InHeader).Owners(t)
	if n := len(harness.On(after, "chat-1")); n > 0 {
		t.Errorf("%d sessions are on a pod in maintenance", n)
	}
	var record struct {
		Pod      string `json:"pod"`
		Previous string `json:"previous_pod"`
		Requests int    `json:"requests"`
	}
	if err := harness.JSON(s.ExtprocAdmin+"/api/v1/sessions/chat/"+drained[0], &record); err != nil {
		t.Fatal(err)
	}
	if record.Pod != after[drained[0]] || record.Previous != "chat-1" || record.Requests != 4 {
		t.Errorf("the record of a rebound session is %+v, want pod %s, previous chat-1, 4 requests", record, after[drained[0]])
	}
}

// kill -9 of extproc under 500 requests a second: every session whose answer was
// delivered 50 ms before, or earlier, is on its pod after the restart.
func TestExtprocKilledLosesNoBinding(t *testing.T) {
	svc := harness.Chat(3)
	svc.Session.OnExtprocLoss = "deny"                        // or unbound requests would be on other pods meanwhile
	svc.Balancing = map[string]any{"strategy": "round_robin"} // no home: only the table knows
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	for round := range 3 {
		arrivals := startArrivals(s, 500)
		arrivals.wait(500)
		bound := arrivals.before(time.Now().Add(-50 * time.Millisecond))
		s.Extproc.Kill(t)
		arrivals.stop()
		if len(bound) < 250 {
			t.Fatalf("round %d: %d sessions were bound before the kill", round, len(bound))
		}
		s.Extproc.Start(t)
		s.WaitReady(t)
		keys := make([]string, 0, len(bound))
		for key := range bound {
			keys = append(keys, key)
		}
		harness.SameOwners(t, bound, s.Load(keys, 1, 16, harness.InHeader).Owners(t))
	}
}

// arrivals are new sessions that come at a steady rate, each with one request.
type arrivals struct {
	quit chan struct{}
	wg   sync.WaitGroup
	came chan struct{}

	mu    sync.Mutex
	bound []binding
}

// binding is what a client knows of its session: its pod, and since when.
type binding struct {
	key, pod string
	at       time.Time
}

func startArrivals(s *harness.Stack, perSecond int) *arrivals {
	a := &arrivals{quit: make(chan struct{}), came: make(chan struct{}, 1<<16)}
	a.wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-a.quit:
				return
			case <-tick.C:
				key := harness.Keys(1)[0]
				a.wg.Go(func() { a.arrive(s, key) })
			}
		}
	})
	return a
}

func (a *arrivals) arrive(s *harness.Stack, key string) {
	answer, err := s.OK(harness.InHeader(key))
	if err != nil {
		return // extproc is gone, and the service denies
	}
	a.mu.Lock()
	a.bound = append(a.bound, binding{key, answer.Pod, time.Now()})
	a.mu.Unlock()
	a.came <- struct{}{}
}

func (a *arrivals) wait(n int) {
	for range n {
		<-a.came
	}
}

// before returns the owners of the sessions that were answered before t.
func (a *arrivals) before(t time.Time) map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	owners := map[string]string{}
	for _, b := range a.bound {
		if b.at.Before(t) {
			owners[b.key] = b.pod
		}
	}
	return owners
}

func (a *arrivals) stop() {
	close(a.quit)
	a.wg.Wait()
}

// A session that a pod names in its response is that pod's from then on.
func TestSessionsNamedByPodsAreTheirs(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.Key = []map[string]string{{"header": "mcp-session-id"}, {"cookie": "JSESSIONID"}}
	svc.Session.Learn = []map[string]string{{"header": "mcp-session-id"}, {"cookie": "JSESSIONID"}}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	harness.Each(200, 16, func(i int) {
		path, carry := "/mcp", func(a harness.Answer) harness.Edit {
			return harness.RawHeader("mcp-session-id", a.Header.Get("mcp-session-id"))
		}
		if i%2 == 1 {
			path, carry = "/login", func(a harness.Answer) harness.Edit { return carryCookies(a) }
		}
		first, err := s.OK(harness.Path(path))
		if err != nil {
			t.Error(err)
			return
		}
		for range 3 {
			again, err := s.OK(harness.Path("/"), carry(first))
			if err != nil || again.Pod != first.Pod {
				t.Errorf("a session that %s created was served by %q, %v", first.Pod, again.Pod, err)
				return
			}
		}
	})
}

// A client without a session is given one, in a cookie that scripts cannot read.
func TestIssuedCookie(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.Key = nil
	svc.Session.Issue = map[string]string{"cookie": "stateful-route", "ttl": "1h"}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	ids := map[string]bool{}
	for range 30 {
		first, err := s.OK()
		if err != nil {
			t.Fatal(err)
		}
		c, err := issuedCookie(first)
		if err != nil {
			t.Fatal(err)
		}
		if ids[c.Value] || len(c.Value) < 22 || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure || c.MaxAge != 3600 || c.Path != "/" {
			t.Errorf("the cookie is %v", c)
		}
		ids[c.Value] = true
		for range 3 {
			again, err := s.OK(carryCookies(first))
			if err != nil || again.Pod != first.Pod {
				t.Fatalf("served by %q, %v; want %s", again.Pod, err, first.Pod)
			}
			if _, err := issuedCookie(again); err == nil {
				t.Error("a client that has its cookie was given another")
			}
		}
	}
}

// The cookie is Secure where a proxy before Envoy says that the client came by
// TLS: Envoy itself sees only that proxy's connection. Pods are told nothing new.
func TestIssuedCookieIsSecureBehindTLS(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(1)
	svc.Session.Key = nil
	svc.Session.Issue = map[string]string{"cookie": "stateful-route", "ttl": "1h"}
	seen := make(chan http.Header, 1)
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-seen: // of an earlier request
		default:
		}
		seen <- r.Header
		fmt.Fprint(w, `{"pod": "chat-0"}`)
	}))
	t.Cleanup(pod.Close)
	svc.Pods.Static[0].Address = pod.Listener.Addr().String()
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	for _, c := range []struct {
		name   string
		edit   harness.Edit
		secure bool
	}{
		{"no proxy", func(*http.Request) {}, false},
		{"by TLS", harness.RawHeader("X-Forwarded-Proto", "https"), true},
		{"by TLS to the first of two proxies", harness.RawHeader("X-Forwarded-Proto", "https, http"), true},
		{"in two lines", harness.RawHeader("X-Forwarded-Proto", "https", "http"), true},
		{"in upper case", harness.RawHeader("X-Forwarded-Proto", "HTTPS"), true},
		{"without TLS", harness.RawHeader("X-Forwarded-Proto", "http"), false},
		{"nonsense", harness.RawHeader("X-Forwarded-Proto", "httpsx"), false},
		{"our own header", harness.RawHeader("X-Stateful-Route-Forwarded-Proto", "https"), false},
	} {
		a, err := s.OK(c.edit)
		if err != nil {
			t.Fatal(err)
		}
		cookie, err := issuedCookie(a)
		if err != nil {
			t.Fatal(err)
		}
		if cookie.Secure != c.secure {
			t.Errorf("%s: Secure is %v, want %v", c.name, cookie.Secure, c.secure)
		}
		h := <-seen
		for name := range h {
			if strings.HasPrefix(strings.ToLower(name), "x-stateful-route") {
				t.Errorf("%s: the pod is sent %s", c.name, name)
			}
		}
		t.Logf("%s: the pod is told x-forwarded-proto %q", c.name, h["X-Forwarded-Proto"])
	}
}

func issuedCookie(a harness.Answer) (*http.Cookie, error) {
	cookies := (&http.Response{Header: a.Header}).Cookies()
	i := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return c.Name == "stateful-route" })
	if i < 0 {
		return nil, errors.New("no cookie was issued")
	}
	return cookies[i], nil
}

func carryCookies(a harness.Answer) harness.Edit {
	return func(r *http.Request) {
		for _, c := range (&http.Response{Header: a.Header}).Cookies() {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
}
