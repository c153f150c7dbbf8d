package adapters

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// pod answers with its name, counts nothing, and sets the cookie that learners want.
func pod(t *testing.T, name string) gateway.Pod {
	t.Helper()
	address, err := gateway.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: &protocols, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("sid"); err != nil && r.URL.Path == "/" {
			http.SetCookie(w, &http.Cookie{Name: "sid", Value: name + fmt.Sprint(time.Now().UnixNano())})
		}
		fmt.Fprint(w, name)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return gateway.Pod{Name: name, Address: address, State: gateway.Serving}
}

// session is a client with an id of its own and all the cookies that it was given.
type session struct {
	key    gateway.Key
	id     string
	client http.Client
}

func newSession(t *testing.T, key gateway.Key, id string) *session {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &session{key: key, id: id, client: http.Client{Jar: jar, Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// pod is where the session's next request goes. Requests that are refused are repeated
// until ctx ends: what is judged here is where they go.
func (s *session) pod(ctx context.Context, address string) (name string, err error) {
	err = gateway.Poll(ctx, func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", http.NoBody)
		if err != nil {
			return err
		}
		if s.key.Kind == gateway.Header {
			r.Header.Set(s.key.Name, s.id)
		}
		answer, err := s.client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d: %s", answer.StatusCode, body)
		}
		name = string(body)
		return err
	})
	return name, err
}

// TestRunningAdaptersFollowWhatTheyAreTold is of every adapter whose program this machine
// has: pods come, drain, move and go, and gateways are reloaded, killed and started again.
func TestRunningAdaptersFollowWhatTheyAreTold(t *testing.T) {
	for _, a := range All() {
		if err := a.Available(t.Context()); err != nil {
			t.Logf("%s: not tested, %v", a.Name, err)
			continue
		}
		t.Run(a.Name, func(t *testing.T) {
			t.Parallel()
			follow(t, a)
		})
	}
}

const patience = 2 * time.Minute

func follow(t *testing.T, a gateway.Adapter) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir, err := os.MkdirTemp("", "rivals-") //nolint:usetesting // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	gateways := 2
	if _, lacks := a.Without[gateway.TwoGateways]; lacks {
		gateways = 1
	}
	pods := []gateway.Pod{pod(t, "pod-0"), pod(t, "pod-1")}
	g, err := a.Start(ctx, gateway.Options{Dir: dir, Gateways: gateways, Pods: pods, Health: gateway.Health{
		Path: "/healthz", Interval: time.Second, Timeout: 500 * time.Millisecond, UnhealthyAfter: 2, HealthyAfter: 1,
	}})
	if err != nil {
		t.Fatal(err, logs(dir))
	}
	defer func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(logs(dir))
		}
	}()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	first := newSession(t, a.Key, "first")
	at := map[string]bool{}
	for i, address := range g.Addresses() {
		name, err := first.pod(ctx, address)
		must(fmt.Sprintf("first through gateway %d", i), err)
		at[name] = true
	}
	if len(at) != 1 {
		t.Errorf("the session is at %v", at)
	}

	pods = append(pods, pod(t, "pod-2"))
	must("a pod comes", g.SetPods(ctx, pods))
	must("new sessions reach it", reach(ctx, t, a, g, "pod-2"))

	if _, lacks := a.Without[gateway.Drain]; !lacks {
		pods[2].State = gateway.Draining
		must("it drains", g.SetPods(ctx, pods))
		if _, lacks := a.Without[gateway.Reload]; !lacks {
			must("reload", g.Reload(ctx))
		}
		for i := range 12 {
			name, err := newSession(t, a.Key, fmt.Sprintf("drained-%d", i)).pod(ctx, g.Addresses()[i%gateways])
			must("a new session", err)
			if name == "pod-2" {
				t.Error("a draining pod got a new session")
			}
		}
		pods[2].State = gateway.Serving
		must("it serves again", g.SetPods(ctx, pods))
		must("new sessions reach it again", reach(ctx, t, a, g, "pod-2"))
	}

	moved := pod(t, "pod-2-elsewhere")
	pods[2].Address = moved.Address
	must("a pod moves", g.SetPods(ctx, pods))
	must("new sessions follow it", reach(ctx, t, a, g, moved.Name))

	must("kill", g.Kill(ctx, gateways-1))
	pods = pods[:2]
	must("a pod goes", g.SetPods(ctx, pods))
	must("restart", g.Restart(ctx, gateways-1))
	for i := range 12 {
		name, err := newSession(t, a.Key, fmt.Sprintf("gone-%d", i)).pod(ctx, g.Addresses()[i%gateways])
		must("a new session", err)
		if strings.HasPrefix(name, "pod-2") {
			t.Error("a pod that is gone got a session")
		}
	}
	if c, ok := g.(gateway.ControlPlane); ok {
		must("control plane away", c.Away(ctx))
		_, err := first.pod(ctx, g.Addresses()[0])
		must("without the control plane", err)
		must("control plane back", c.Back(ctx))
	}
}

// reach waits until a new session is at the pod, by any of the gateways.
func reach(ctx context.Context, t *testing.T, a gateway.Adapter, g gateway.Gateway, pod string) error {
	for i, address := range g.Addresses() {
		n := 0
		if err := gateway.Poll(ctx, func(ctx context.Context) error {
			n++
			name, err := newSession(t, a.Key, fmt.Sprintf("new-%d-%s-%d", i, pod, n)).pod(ctx, address)
			if err == nil && name != pod {
				err = fmt.Errorf("gateway %d: new sessions are at %s", i, name)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// logs are the ends of what was printed.
func logs(dir string) string {
	var b strings.Builder
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.log"))
	if err != nil {
		return err.Error()
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "\n%s:\n%s\n", strings.TrimPrefix(file, dir), text[max(0, len(text)-2000):])
	}
	return b.String()
}
