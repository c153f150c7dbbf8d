package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// errNotYet keeps harness.Eventually waiting.
var errNotYet = errors.New("not yet")

// variants are the two ways in which an Envoy can ask for its configuration.
var variants = []struct {
	name string
	sotw bool
}{
	{"delta", false}, {"state of the world", true},
}

// What xds-server sends is what Envoy takes, without a complaint, whichever way
// it asks.
func TestEnvoyTakesWhatItIsSent(t *testing.T) {
	t.Parallel()
	for _, variant := range variants {
		t.Run(variant.name, func(t *testing.T) {
			t.Parallel()
			deny := harness.Chat(2)
			deny.Name = "deny"
			deny.Match = map[string]any{"hosts": []string{"deny.example.com", "*.deny.example.com"}, "prefix": "/api"}
			deny.Session.OnExtprocLoss = "deny"
			deny.Session.OnPodLoss = "reject"
			deny.Session.Learn = []map[string]any{{"cookie": "JSESSIONID"}, {"header": "mcp-session-id"}}
			deny.Session.Issue = map[string]string{"cookie": "stateful-route", "ttl": "24h"}
			deny.Balancing = map[string]any{"strategy": "round_robin", "max_connections": 100}
			for i := range deny.Pods.Static {
				deny.Pods.Static[i].Name = "deny-" + deny.Pods.Static[i].Name
			}
			s := start(t, harness.Options{
				Services: []harness.Service{harness.Chat(3), deny}, StateOfTheWorld: variant.sotw, DebugHeaders: true,
			})
			s.WaitPods(t)
			a, err := s.OK(harness.InHeader("x"))
			if err != nil || a.Header.Get("x-stateful-route-pod") != a.Pod {
				t.Errorf("x-stateful-route-pod is %q, served by %q, %v", a.Header.Get("x-stateful-route-pod"), a.Pod, err)
			}
			checkAccepted(t, s)
		})
	}
}

// checkAccepted fails the test when Envoy refused something or is still
// warming it.
func checkAccepted(t *testing.T, s *harness.Stack) {
	t.Helper()
	for _, stat := range []string{
		"cluster_manager.cds.update_rejected", "listener_manager.lds.update_rejected",
		"cluster_manager.warming_clusters", "listener_manager.total_listeners_warming", "listener_manager.listener_create_failure",
	} {
		harness.Eventually(t, harness.Patience, "Envoy's "+stat+" is 0", func() error {
			n, err := s.EnvoyStat(stat)
			if err == nil && n != 0 {
				err = errNotYet
			}
			return err
		})
	}
	dump, err := harness.Body(s.EnvoyAdmin + "/config_dump?include_eds")
	if err != nil {
		t.Fatal(err)
	}
	for _, sign := range []string{`"error_state"`, `"warming_state"`} {
		if strings.Contains(dump, sign) {
			t.Errorf("Envoy's config_dump has an %s", sign)
		}
	}
	log := s.Envoy.Log(t)
	for line := range strings.Lines(log) {
		for _, sign := range []string{"[error]", "[critical]", "rejected", "deprecated", "Deprecated"} {
			if strings.Contains(line, sign) {
				t.Errorf("Envoy complains: %s", line)
				break
			}
		}
	}
}

// Without debug_headers a client learns nothing of the pods.
func TestNoInternalHeaderReachesTheClient(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{})
	for _, edits := range [][]harness.Edit{{}, {harness.InHeader("x")}, {harness.InCookie("y")}} {
		a, err := s.OK(edits...)
		if err != nil {
			t.Fatal(err)
		}
		for name := range a.Header {
			if strings.HasPrefix(strings.ToLower(name), "x-stateful-route") {
				t.Errorf("the response has %s", name)
			}
		}
	}
}

// A request that no service's route matches is a 404 from Envoy: extproc is not
// asked about it.
func TestNoRouteIsNotFound(t *testing.T) {
	t.Parallel()
	root, rooms := harness.Chat(1), harness.Chat(1)
	root.Match = map[string]any{"hosts": []string{"127.0.0.1"}}
	rooms.Name, rooms.Match = "rooms", map[string]any{"hosts": []string{"rooms.test"}, "prefix": "/rooms"}
	rooms.Pods.Static[0].Name = "rooms-0"
	s := start(t, harness.Options{Services: []harness.Service{root, rooms}})
	for path, want := range map[string]int{"/": 404, "/rooms/1": 200, "/roomsx": 404} {
		a, err := s.Get(harness.Path(path), func(r *http.Request) { r.Host = "rooms.test" })
		if err != nil || a.Status != want {
			t.Errorf("%s: got %d, %v; want %d", path, a.Status, err, want)
		}
	}
}
