package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// cookieClient is a client of chat.test that keeps cookies as browsers do, by their path.
func cookieClient(t *testing.T, s *harness.Stack) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	address := strings.Trim(strings.TrimPrefix(s.URL, "http:"), "/")
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: transport, Timeout: harness.Patience}
}

// visit returns the status and the pod that answered.
func visit(t *testing.T, client *http.Client, path string) (status int, pod string) {
	t.Helper()
	resp, err := client.Get("http://chat.test" + path)
	if err != nil {
		t.Fatal(err)
	}
	var a harness.Answer
	if resp.StatusCode == http.StatusOK {
		err = json.NewDecoder(resp.Body).Decode(&a)
	}
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, a.Pod
}

// Two services of one host issue cookies of one name, each for its path. One that takes its
// cookie back, for its session is lost, leaves the other's alone.
func TestAServiceTakesBackItsOwnCookieAlone(t *testing.T) {
	t.Parallel()
	var services []harness.Service
	for _, name := range []string{"chat", "app", "shop"} { // the first is asked whether all is ready
		svc := harness.Chat(3)
		svc.Name = name
		for i := range svc.Pods.Static {
			svc.Pods.Static[i].Name = fmt.Sprintf("%s-%d", name, i)
		}
		if name != "chat" {
			svc.Match = map[string]any{"prefix": "/" + name}
			svc.Session = harness.Session{Issue: map[string]string{"cookie": "sid", "ttl": "1h"}, OnPodLoss: "reject"}
		}
		services = append(services, svc)
	}
	s := start(t, harness.Options{Services: services})
	client := cookieClient(t, s)
	cookie := func(path string) string {
		u := &url.URL{Scheme: "http", Host: "chat.test", Path: path}
		var values []string
		for _, c := range client.Jar.Cookies(u) {
			values = append(values, c.Name+"="+c.Value)
		}
		return strings.Join(values, " ")
	}
	_, app := visit(t, client, "/app/a")
	_, shop := visit(t, client, "/shop/a")
	lost, kept := cookie("/app/a"), cookie("/shop/a")
	if lost == "" || kept == "" || lost == kept {
		t.Fatalf("the cookies are %q and %q", lost, kept)
	}
	s.Change(t, func(c *harness.Config) { c.Services[1].Pods.Static = harness.RemovePod(c.Services[1].Pods.Static, app) })
	s.WaitClients(t)
	if status, _ := visit(t, client, "/app/b"); status != http.StatusServiceUnavailable {
		t.Fatalf("a session whose pod is gone: status %d", status)
	}
	if got := cookie("/app/b"); got != "" {
		t.Errorf("the lost session's cookie is still %q", got)
	}
	if got := cookie("/shop/b"); got != kept {
		t.Errorf("the other service's cookie was %q and is %q", kept, got)
	}
	for range 6 {
		if status, pod := visit(t, client, "/shop/b"); status != http.StatusOK || pod != shop {
			t.Errorf("the other service's session is at %q with status %d, and was at %s", pod, status, shop)
		}
	}
	status, again := visit(t, client, "/app/c")
	if fresh := cookie("/app/c"); status != http.StatusOK || fresh == "" || fresh == lost || again == app {
		t.Errorf("a new session: status %d, pod %q, cookie %q", status, again, fresh)
	}
	if got := cookie("/shop/c"); got != kept {
		t.Errorf("the other service's cookie was %q and is %q", kept, got)
	}
}
