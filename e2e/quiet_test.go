package e2e

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// services of one pod each, by the prefix of their paths.
func servicesAt(names ...string) []harness.Service {
	var out []harness.Service
	for _, name := range names {
		svc := harness.Chat(1)
		svc.Name, svc.Pods.Static[0].Name = name, name+"-0"
		if name != "chat" {
			svc.Match = map[string]any{"prefix": "/" + name}
		}
		out = append(out, svc)
	}
	return out
}

// A request that is quiet for longer than its service allows ends, one whose answer
// takes longer does, too, and none of others.
func TestQuietAndLongRequestsEndWhenTheirServiceSays(t *testing.T) {
	t.Parallel()
	services := servicesAt("chat", "quiet", "long", "never")
	services[1].StreamIdleTimeout, services[2].RequestTimeout, services[3].StreamIdleTimeout = "200ms", "200ms", "0s"
	s := start(t, harness.Options{Services: services})
	for _, svc := range services {
		s.Misbehave(t, svc.Name+"-0", `{"delay": "2s"}`)
	}
	for path, want := range map[string]int{"/": 200, "/quiet": 504, "/long": 504, "/never": 200} {
		if a, err := s.Get(harness.Path(path), harness.InHeader("alice")); err != nil || a.Status != want {
			t.Errorf("%s: status %d, %v; want %d", path, a.Status, err, want)
		}
	}
}

// Connections that are quiet are looked after on both sides of Envoy.
func TestTCPKeepAliveIsOn(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(1)
	svc.ConnectionIdleTimeout = "0s"
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	if _, err := s.OK(); err != nil {
		t.Fatal(err)
	}
	listener := strings.TrimSuffix(strings.TrimPrefix(s.URL, "http://"), "/")
	for _, side := range []struct {
		what, address string
		of            int // the field of the address: 1 is the socket's own, 2 the other side's
	}{
		{"clients", listener, 1}, {"pods", s.PodAddress(t, "chat-0"), 2},
	} {
		harness.Eventually(t, harness.Patience, "keep-alive is on towards "+side.what, func() error {
			return keptAlive(side.of, side.address)
		})
	}
}

// keptAlive is nil when an established connection with the port in the field of its
// row has a keep-alive timer.
func keptAlive(field int, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return err
	}
	const established, keepAlive = "01", "02:"
	for line := range strings.Lines(string(table)) {
		row := strings.Fields(line)
		if len(row) < 6 || row[3] != established || !strings.HasSuffix(row[field], fmt.Sprintf(":%04X", number)) {
			continue
		}
		if strings.HasPrefix(row[5], keepAlive) {
			return nil
		}
	}
	return fmt.Errorf("%w: no connection of port %s has a keep-alive timer", errNotYet, port)
}
