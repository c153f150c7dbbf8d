package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/store"
	"github.com/stateful-route/stateful-route/e2e/harness"
)

// A drained pod keeps the sessions it has, a thousand here, until an operator
// decides otherwise, and gets no other. Whoever waits for it to be empty is told
// at the deadline that it is not.
func TestDrainKeepsSessionsAndTakesNoNew(t *testing.T) {
	t.Parallel()
	const bound = 1000
	svc := harness.Chat(3)
	svc.Balancing = map[string]any{"strategy": "round_robin"}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	before := s.Load(harness.Keys(3*bound+30), 1, 16, harness.InHeader).Owners(t)
	drained := harness.On(before, "chat-1")
	if len(drained) <= bound {
		t.Fatalf("the pod to drain has %d of %d sessions", len(drained), len(before))
	}
	busy, quiet := drained[:bound], drained[bound]
	traffic := s.Traffic(t, busy, 3*time.Second)
	fresh := startArrivals(t, s, 50)

	ctl := s.Routectl(t, "pods", "drain", "chat", "chat-1", "--wait", "--timeout", "5s")
	harness.Eventually(t, harness.Patience, "the pod is draining", s.InState("chat", "chat-1", "draining"))
	s.WaitClients(t)
	inForce := time.Now() // extproc has acknowledged it
	if code, log := ctl.ExitCode(), ctl.Log(t); code != 1 || !strings.Contains(log, "sessions left after 5s") {
		t.Errorf("routectl ended with %d: %s", code, log)
	}
	traffic.Round(t)
	fresh.stop()
	histories := traffic.Stop()
	if n := harness.NoFailures(t, histories); n < 2*bound {
		t.Errorf("only %d requests were sent meanwhile", n)
	}
	harness.MaxPods(t, histories, 1)
	late, misplaced := fresh.begunAfter(inForce)
	if late < 100 || misplaced["chat-1"] > 0 {
		t.Errorf("of %d sessions that came after the drain %d are on the drained pod", late, misplaced["chat-1"])
	}
	checkMaintenance(t, s, drained, quiet)
}

// checkMaintenance shows that an operator can end a drain, and what the record
// of a session says of it that was served once before.
func checkMaintenance(t *testing.T, s *harness.Stack, drained []string, quiet string) {
	t.Helper()
	s.Order(t, "chat", "chat-1", "maintenance")
	s.WaitClients(t)
	after := s.Load(drained, 1, 16, harness.InHeader).Owners(t)
	if n := len(harness.On(after, "chat-1")); n > 0 {
		t.Errorf("%d sessions are on a pod in maintenance", n)
	}
	var record struct {
		Pod      string `json:"pod"`
		Previous string `json:"previous_pod"`
		Requests int    `json:"requests"`
	}
	if err := harness.JSON(s.ExtprocAdmin+"/api/v1/sessions/chat/"+quiet, &record); err != nil {
		t.Fatal(err)
	}
	if record.Pod != after[quiet] || record.Previous != "chat-1" || record.Requests != 2 {
		t.Errorf("the record of a rebound session is %+v, want pod %s, previous chat-1, 2 requests", record, after[quiet])
	}
}

// homeless has extproc bind sessions to pods that only its table knows: there is
// no home to find again, and nothing is served while extproc is gone.
func homeless() harness.Service {
	svc := harness.Chat(3)
	svc.Session.OnExtprocLoss = "deny"
	svc.Balancing = map[string]any{"strategy": "round_robin"}
	return svc
}

// kill -9 of extproc under 500 requests a second: every session that was answered
// before extproc last began to write a batch is on its pod after the restart.
func TestExtprocKilledLosesNoBinding(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{homeless()}})
	for range 3 {
		arrivals := startArrivals(t, s, 500)
		arrivals.wait(500)
		checkKill(t, s, arrivals, func(tableStats) error { return nil }, func() {})
	}
}

// checkKill kills extproc when the moment has come, calls dead, and starts it again.
func checkKill(t *testing.T, s *harness.Stack, a *arrivals, moment func(tableStats) error, dead func()) {
	t.Helper()
	bound := awaitBatches(t, s, a, moment)
	s.Extproc.Kill(t)
	a.stop()
	if len(bound) < 250 {
		t.Fatalf("%d sessions were bound before the kill", len(bound))
	}
	dead()
	s.Extproc.Start(t)
	s.WaitReady(t)
	keys := slices.Collect(maps.Keys(bound))
	harness.SameOwners(t, bound, s.Load(keys, 1, 16, harness.InHeader).Owners(t))
	t.Logf("killed with %d sessions bound for long enough", len(bound))
}

// batches is how many batches must have been written after an answer for it to be in
// the file: one may have begun before, and one may be of changes that can wait.
const batches = 3

// awaitBatches returns, when the moment has come, the sessions that were answered
// before the last batches.
func awaitBatches(t *testing.T, s *harness.Stack, a *arrivals, moment func(tableStats) error) map[string]string {
	t.Helper()
	written, answered := -1, []int(nil) // sessions, at the sight of each batch
	harness.Eventually(t, harness.Patience, "the moment has come", func() error {
		before := a.answered()
		stats, err := cacheStats(s)
		if err != nil || stats.Store.Written == written {
			return cmp.Or(err, errNotYet)
		}
		written, answered = stats.Store.Written, append(answered, before)
		if err := moment(stats); err != nil || len(answered) <= batches {
			return cmp.Or(err, errNotYet)
		}
		return nil
	})
	return a.owners(answered[len(answered)-1-batches])
}

// The same while the deletions of 300,000 sessions that expired all at once are
// being written.
func TestExtprocKilledInASweepLosesNoBinding(t *testing.T) {
	t.Parallel()
	expired := scaled(300_000)
	path := filepath.Join(t.TempDir(), "pins.db")
	svc := homeless()
	svc.Session.IdleTimeout = "2h"
	s := start(t, harness.Options{
		Services: []harness.Service{svc},
		Affinity: map[string]any{"cleanup_interval": "200ms"},
		Store:    map[string]any{"memory": map[string]any{"path": path}},
	})
	s.Extproc.Stop(t)
	fillStore(t, path, expired, time.Now().Add(-time.Hour))
	s.Extproc.Start(t)
	s.WaitReady(t)
	arrivals := startArrivals(t, s, 500)
	arrivals.wait(500)
	s.Change(t, func(c *harness.Config) { c.Services[0].Session.IdleTimeout = "10m" })
	seen, most := 0, 0 // batches of the sweep, and changes pending
	amidst := func(stats tableStats) error {
		most = max(most, stats.Store.Pending)
		if stats.Store.Pending > expired/30 {
			seen++
		}
		if seen <= batches {
			return fmt.Errorf("%d batches of the sweep were seen; %d changes are pending, %d at most before", seen, stats.Store.Pending, most)
		}
		return nil
	}
	checkKill(t, s, arrivals, amidst, func() {
		left := 0
		for _, b := range openStore(t, path, 0, func(*store.Store) {}) {
			if strings.HasPrefix(b.Key, "old-") {
				left++
			}
		}
		t.Logf("%d of %d expired sessions were still in the file", left, expired)
		if left == 0 {
			t.Error("the sweep was over before the kill: nothing was shown")
		}
	})
}

// fillStore writes n sessions, last seen at a time, into extproc's file.
func fillStore(t *testing.T, path string, n int, seen time.Time) {
	t.Helper()
	openStore(t, path, n, func(st *store.Store) {
		for i := range n {
			st.Put(statefulroute.Binding{
				Service: "chat", Key: fmt.Sprintf("old-%x", i*2654435761), Pod: fmt.Sprintf("chat-%d", i%3), Created: seen, LastSeen: seen, Requests: 1,
			})
		}
	})
}

// openStore returns what extproc's file holds, which extproc must not have open,
// and writes what f puts into it.
func openStore(t *testing.T, path string, room int, f func(*store.Store)) []statefulroute.Binding {
	t.Helper()
	st, found, err := store.Open(store.Options{Path: path, MaxPending: room})
	if err != nil || found.Damage != nil {
		t.Fatal(err, found.Damage)
	}
	f(st)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := st.Run(ended, nil); err != nil {
		t.Fatal(err)
	}
	return found.Bindings
}

type tableStats struct {
	Size  int `json:"size"`
	Store struct {
		Pending int `json:"pending"`
		Written int `json:"written"`
	} `json:"store"`
}

func cacheStats(s *harness.Stack) (tableStats, error) {
	var stats struct {
		Cache tableStats `json:"cache"`
	}
	err := harness.JSON(s.ExtprocAdmin+"/api/v1/stats", &stats)
	return stats.Cache, err
}

// A restart loads a million bindings before extproc says that it is ready. How long
// that takes is logged here and measured in package store (BenchmarkStore).
func TestRestartWithAMillionSessions(t *testing.T) {
	t.Parallel()
	sessions := scaled(1_000_000)
	path := filepath.Join(t.TempDir(), "pins.db")
	s := start(t, harness.Options{Store: map[string]any{"memory": map[string]any{"path": path}}})
	s.Extproc.Stop(t)
	fillStore(t, path, sessions, time.Now())
	s.Extproc.Start(t)
	took := harness.Eventually(t, harness.Patience, "extproc is ready", func() error {
		_, err := harness.Body(s.ExtprocAdmin + "/readyz")
		return err
	})
	stats, err := cacheStats(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v with %d sessions", took, stats.Size)
	if stats.Size != sessions {
		t.Errorf("%d of %d sessions were restored", stats.Size, sessions)
	}
}

// arrivals are new sessions that come at a steady rate, each with one request.
type arrivals struct {
	quit  chan struct{}
	ended sync.Once
	wg    sync.WaitGroup
	came  chan struct{}
	began time.Time

	sent  int // of the sender until it has stopped
	mu    sync.Mutex
	bound []binding
}

// binding is what a client knows of its session: its pod, and when it asked.
type binding struct {
	key, pod string
	asked    time.Time
}

func startArrivals(t *testing.T, s *harness.Stack, perSecond int) *arrivals {
	a := &arrivals{quit: make(chan struct{}), came: make(chan struct{}, 1<<16), began: time.Now()}
	a.wg.Go(func() {
		// A late tick is made good, so that the rate is what it should be.
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-a.quit:
				return
			case <-tick.C:
			}
			for due := int(time.Since(a.began).Seconds() * float64(perSecond)); a.sent < due; a.sent++ {
				key := harness.Keys(1)[0]
				a.wg.Go(func() { a.arrive(s, key) })
			}
		}
	})
	t.Cleanup(a.stop)
	return a
}

func (a *arrivals) arrive(s *harness.Stack, key string) {
	asked := time.Now()
	answer, err := s.OK(harness.InHeader(key))
	if err != nil {
		return // extproc is gone, and the service denies
	}
	a.mu.Lock()
	a.bound = append(a.bound, binding{key, answer.Pod, asked})
	a.mu.Unlock()
	a.came <- struct{}{}
}

func (a *arrivals) wait(n int) {
	for range n {
		<-a.came
	}
}

// answered is how many sessions were answered so far.
func (a *arrivals) answered() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.bound)
}

// owners returns the pods of the first n sessions that were answered.
func (a *arrivals) owners(n int) map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	owners := map[string]string{}
	for _, b := range a.bound[:n] {
		owners[b.key] = b.pod
	}
	return owners
}

// begunAfter counts the sessions that came after t, also by pod. It is for
// arrivals that have stopped.
func (a *arrivals) begunAfter(t time.Time) (n int, byPod map[string]int) {
	byPod = map[string]int{}
	for _, b := range a.bound {
		if b.asked.After(t) {
			byPod[b.pod]++
			n++
		}
	}
	return n, byPod
}

// stop ends the arrivals. It may be called again.
func (a *arrivals) stop() {
	a.ended.Do(func() { close(a.quit) })
	a.wg.Wait()
}

// A session that a pod names in its response is that pod's from then on.
func TestSessionsNamedByPodsAreTheirs(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.Key = []map[string]any{{"header": "mcp-session-id"}, {"cookie": "JSESSIONID"}}
	svc.Session.Learn = []map[string]any{{"header": "mcp-session-id"}, {"cookie": "JSESSIONID"}}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	// 200 in a header and 200 in a cookie.
	harness.Each(400, 16, func(i int) {
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
