package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// closingPod answers as a demo pod does, but closes a connection that has served before as the
// next request comes on it, once for each request. It counts what reached it.
type closingPod struct {
	name     string
	listener net.Listener
	reset    bool // closes with RST, not FIN
	// hold, when set, is asked before a request of that path is left without an answer.
	hold func(path string) bool

	mu       sync.Mutex
	wg       sync.WaitGroup
	conns    map[net.Conn]bool
	attempts map[string]int // by request id
	methods  map[string]int // attempts
	visits   map[string]int // by session, answered
	headers  []string       // internal ones, none of which a pod is to see
}

func startClosingPod(t *testing.T, name string, reset bool) *closingPod {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &closingPod{
		name: name, listener: l, reset: reset, conns: map[net.Conn]bool{},
		attempts: map[string]int{}, methods: map[string]int{}, visits: map[string]int{},
	}
	p.wg.Go(p.accept)
	t.Cleanup(p.kill)
	return p
}

// kill ends it as the end of its process does.
func (p *closingPod) kill() {
	_ = p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *closingPod) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns[c] = true
		p.mu.Unlock()
		p.wg.Go(func() {
			p.serve(c)
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
			_ = c.Close()
		})
	}
}

func (p *closingPod) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for served := 0; ; served++ {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if p.hold != nil && p.hold(r.URL.Path) {
			p.count(r, false)
			return
		}
		if !p.count(r, served > 0) {
			if p.reset {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			return
		}
		session := r.Header.Get("x-session-id")
		body := fmt.Sprintf(`{"pod":%q,"session":%q,"visits":%d}`, p.name, session, p.visitsOf(session))
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", len(body), body); err != nil {
			return
		}
	}
}

// count reports whether the request is answered.
func (p *closingPod) count(r *http.Request, reused bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := r.Header.Get("x-request-id")
	p.attempts[id]++
	p.methods[r.Method]++
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Stateful-Route-") {
			p.headers = append(p.headers, name)
		}
	}
	if reused && p.attempts[id] == 1 {
		return false
	}
	p.visits[r.Header.Get("x-session-id")]++
	return true
}

func (p *closingPod) visitsOf(session string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.visits[session]
}

// startClosing starts a stack of three such pods. Nobody probes them.
func startClosing(t *testing.T, fast harness.FastPath) (*harness.Stack, map[string]*closingPod) {
	t.Helper()
	svc := harness.Chat(3)
	svc.HealthCheck = map[string]any{"none": true}
	pods := map[string]*closingPod{}
	for i := range svc.Pods.Static {
		pod := &svc.Pods.Static[i]
		pods[pod.Name] = startClosingPod(t, pod.Name, i == 1)
		pod.Address = pods[pod.Name].listener.Addr().String()
	}
	return start(t, harness.Options{FastPath: fast, Services: []harness.Service{svc}}), pods
}

// triedAgain is how many requests Envoy tried again: by itself, and through its module.
func triedAgain(t *testing.T, s *harness.Stack) (byRouter, byModule int) {
	t.Helper()
	byRouter, err := s.EnvoyStat("cluster.chat.upstream_rq_retry")
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.FastPathRequests("again")
	if err != nil && !errors.Is(err, harness.ErrNoMetric) {
		t.Fatal(err)
	}
	return byRouter, int(again)
}

// withMethod sends another request than a GET.
func withMethod(method, body string) harness.Edit {
	return func(r *http.Request) {
		r.Method = method
		if body != "" {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
	}
}

// Pods close connections as a request comes. An idempotent one is tried once more, at
// the same pod, whether it drains or not; of all others the client hears. No session
// ever reaches another pod, nor when its own is gone.
func TestRequestsThatMeetAClosingConnectionAreTriedOnceMoreAtTheirPod(t *testing.T) {
	t.Parallel()
	s, pods := startClosing(t, harness.FastPathByEnv)
	keys := harness.Keys(60)
	owners := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
	s.Order(t, "chat", "chat-2", "drain")
	harness.Eventually(t, harness.Patience, "Envoy drains the pod", func() error {
		health, err := s.EnvoyHealth("chat")
		if err == nil && health["chat-2"] != "DRAINING" {
			err = fmt.Errorf("chat-2 is %s", health["chat-2"])
		}
		return err
	})
	const rounds = 4
	notRepeated := 0 // retries that were refused: no pod saw them
	for _, edit := range []harness.Edit{withMethod("GET", ""), withMethod("PUT", "a body"), withMethod("DELETE", ""), withMethod("OPTIONS", "")} {
		var late atomic.Int64 // on a machine so busy that the pod's end was noticed after 750 ms
		harness.Each(len(keys)*rounds, 8, func(i int) {
			key := keys[i%len(keys)]
			switch a, err := s.Get(harness.InHeader(key), edit); {
			case err == nil && a.Header.Get("x-stateful-route-reason") == "late-retry":
				late.Add(1)
			case err != nil || a.Status != http.StatusOK || a.Pod != owners[key]:
				t.Errorf("%d from %q, want 200 from %s: %v", a.Status, a.Pod, owners[key], err)
			}
		})
		if n := int(late.Load()); n > len(keys)*rounds/4 {
			t.Errorf("%d of %d requests were tried again too late", n, len(keys)*rounds)
		}
		notRepeated += int(late.Load())
	}
	failed := 0
	for _, method := range []string{"POST", "PATCH"} {
		harness.Each(len(keys)*rounds, 8, func(i int) {
			a, err := s.Get(harness.InHeader(keys[i%len(keys)]), withMethod(method, "a body"), pleaseRetry())
			if err != nil || a.Status != http.StatusServiceUnavailable && a.Pod != owners[keys[i%len(keys)]] {
				t.Errorf("%s: %d from %q, %v", method, a.Status, a.Pod, err)
			}
		})
	}
	repeated := 0
	for name, pod := range pods {
		pod.mu.Lock()
		for key := range pod.visits {
			if key != "" && slices.Contains(keys, key) && owners[key] != name {
				t.Errorf("session %s of %s reached %s", key, owners[key], name)
			}
		}
		for id, n := range pod.attempts {
			if n > 2 {
				t.Errorf("request %s was tried %d times", id, n)
			}
			repeated += n - 1
		}
		failed += pod.methods["POST"] + pod.methods["PATCH"]
		t.Logf("%s: attempts %v, sessions %d", name, pod.methods, len(pod.visits))
		pod.mu.Unlock()
	}
	if want := 2 * rounds * len(keys); failed != want {
		t.Errorf("%d attempts of %d requests that must not be repeated", failed, want)
	}
	router, module := triedAgain(t, s) // the module does not begin a retry that is late
	if n := router + module; repeated == 0 || n < repeated || n > repeated+notRepeated || module == 0 && n != repeated+notRepeated {
		t.Errorf("Envoy counted %d retries, %d of them by its module; the pods saw %d, and %d were refused", n, module, repeated, notRepeated)
	}

	pods["chat-1"].kill()
	for _, key := range harness.On(owners, "chat-1") {
		for _, edit := range []harness.Edit{withMethod("GET", ""), pleaseRetry()} {
			if a, err := s.Get(harness.InHeader(key), edit); err != nil || a.Status != http.StatusServiceUnavailable {
				t.Fatalf("a session of the killed pod got %d from %q, %v; want 503", a.Status, a.Pod, err)
			}
		}
	}
}

// A session is moved while a request of it waits for its pod, which then closes the
// connection: the request is refused, for its pod is not the session's any more; where Envoy
// knows the session itself, see TestFastPathRetriesFollowTheSession. So is one that fails
// long after it came.
func TestARequestWhoseSessionWasMovedIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for path, move := range map[string]bool{"/moved": true, "/late": false} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			fast := harness.FastPathByEnv
			if move {
				fast = harness.FastPathOff
			}
			s, pods := startClosing(t, fast)
			key := harness.Keys(1)[0]
			a, err := s.OK(harness.InHeader(key))
			if err != nil {
				t.Fatal(err)
			}
			to := map[string]string{"chat-0": "chat-1", "chat-1": "chat-2", "chat-2": "chat-0"}[a.Pod]
			held := 0
			pods[a.Pod].hold = func(asked string) bool {
				if asked != path {
					return false
				}
				if held++; !move {
					<-time.After(time.Second) // what is tested: that this is too late
					return true
				}
				if _, err := harness.Call(http.MethodPut, s.ExtprocAdmin+"/api/v1/sessions/chat/"+key, `{"pod": "`+to+`"}`); err != nil {
					t.Error(err)
				}
				return true
			}
			a, err = s.Get(harness.InHeader(key), harness.Path(path))
			reason := a.Header.Get("x-stateful-route-reason")
			if err != nil || a.Status != http.StatusServiceUnavailable || held != 1 {
				t.Errorf("%d from %q, %v, after %d attempts", a.Status, a.Pod, err, held)
			}
			if move && reason != "moved" && reason != "late-retry" || !move && reason != "late-retry" {
				t.Errorf("refused because %q", reason)
			}
		})
	}
}

// A pod that accepts no connection, with its machine gone, say, costs a request the
// second that Envoy waits for one, and not two.
func TestAPodThatAcceptsNoConnectionIsNotWaitedForTwice(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(2)
	svc.HealthCheck = map[string]any{"none": true}
	svc.Pods.Static[0].Address = startClosingPod(t, "chat-0", false).listener.Addr().String()
	svc.Pods.Static[1].Address = fullBacklog(t)
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	key := harness.Keys(1)[0]
	if _, err := harness.Call(http.MethodPut, s.ExtprocAdmin+"/api/v1/sessions/chat/"+key, `{"pod": "chat-1"}`); err != nil {
		t.Fatal(err)
	}
	router, module := triedAgain(t, s)
	began := time.Now()
	a, err := s.Get(harness.InHeader(key))
	t.Logf("answered after %v", time.Since(began).Round(time.Millisecond))
	if reason := a.Header.Get("x-stateful-route-reason"); err != nil || a.Status != http.StatusServiceUnavailable || reason != "late-retry" {
		t.Errorf("%d from %q, reason %q, %v", a.Status, a.Pod, reason, err)
	}
	if r, m := triedAgain(t, s); r+m > router+module+1 { // the module does not begin one that is late
		t.Errorf("%d retries, %d by the module", r-router, m-module)
	}
}

// fullBacklog is the address of a socket that takes no connection any more and refuses none.
func fullBacklog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for {
		c, err := net.DialTimeout("tcp", at, 100*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}
