package e2e

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// forgeries name target as the destination in every way a client could try.
func forgeries(target string) map[string]harness.Edit {
	encoded := base64.StdEncoding.EncodeToString([]byte(target))
	const name = "x-stateful-route-destination"
	return map[string]harness.Edit{
		"lower case": harness.RawHeader(name, encoded),
		"canonical":  harness.RawHeader(http.CanonicalHeaderKey(name), encoded),
		"mixed case": harness.RawHeader("X-sTaTeFuL-rOuTe-DESTINATION", encoded),
		"plain text": harness.RawHeader(name, target),
		"repeated":   harness.RawHeader(name, encoded, encoded, ""),
		"in a list":  harness.RawHeader(name, encoded+","+encoded),
		"all internal headers": func(r *http.Request) {
			for _, h := range []string{name, "x-stateful-route-pod", "x-stateful-route-service", "x-stateful-route-decided", "x-stateful-route"} {
				r.Header[h] = []string{encoded, target}
			}
		},
		"in two cases": func(r *http.Request) {
			r.Header[name] = []string{encoded}
			r.Header["X-STATEFUL-ROUTE-DESTINATION"] = []string{encoded}
		},
	}
}

// hostilePlaces are where a client would like to get to: every pod, an address
// that is in no configuration, and Envoy's own admin interface.
func hostilePlaces(t *testing.T, s *harness.Stack) map[string]string {
	t.Helper()
	return map[string]string{
		"pod chat-0": s.PodAddress(t, "chat-0"),
		"pod chat-1": s.PodAddress(t, "chat-1"),
		"pod chat-2": s.PodAddress(t, "chat-2"),
		"nowhere":    harness.Address(t),
		"the admin":  s.EnvoyAdmin[len("http://"):],
	}
}

// eachForgery calls f with every forged request.
func eachForgery(t *testing.T, s *harness.Stack, f func(name string, forged harness.Edit)) {
	t.Helper()
	for place, address := range hostilePlaces(t, s) {
		for way, forged := range forgeries(address) {
			f(place+", "+way, forged)
		}
	}
}

func roundRobin(n int) harness.Service {
	svc := harness.Chat(n)
	svc.Balancing = map[string]any{"strategy": "round_robin"}
	return svc
}

func TestForgedHeadersWithExtproc(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{roundRobin(3)}})
	keys := harness.Keys(6)
	owners := s.Load(keys, 1, 2, harness.InHeader).Owners(t)
	checkForgeries(t, s, keys, owners)
}

// checkForgeries sends every forged request: with a session it reaches the session's pod,
// without one any pod.
func checkForgeries(t *testing.T, s *harness.Stack, keys []string, owners map[string]string) {
	t.Helper()
	eachForgery(t, s, func(name string, forged harness.Edit) {
		for _, key := range keys {
			a, err := s.OK(harness.InHeader(key), forged)
			if err != nil || a.Pod != owners[key] {
				t.Errorf("%s: session of %s went to %q, %v", name, owners[key], a.Pod, err)
			}
		}
		checkUnboundSpread(t, s, name, forged)
	})
}

// A request whose session is new is placed as if nothing had been forged: ten
// new sessions that all ask for one pod do not all get it.
func TestForgedHeadersDoNotPlaceNewSessions(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{roundRobin(3)}})
	eachForgery(t, s, func(name string, forged harness.Edit) {
		tally := s.Load(harness.Keys(10), 1, 1, harness.InHeader, forged)
		tally.Owners(t)
		if pods := tally.ByPod(); len(pods) < 3 {
			t.Errorf("%s: ten new sessions went to %v only", name, pods)
		}
	})
}

func TestForgedHeadersWithoutExtproc(t *testing.T) {
	t.Parallel()
	svc := roundRobin(3)
	svc.Session.OnExtprocLoss = "allow"
	s := start(t, harness.Options{Services: []harness.Service{svc}, MessageTimeout: "20ms"}) // each request waits for it
	s.Extproc.Kill(t)
	eachForgery(t, s, func(name string, forged harness.Edit) { checkUnboundSpread(t, s, name, forged) })
}

func TestForgedHeadersWithoutExtprocDenied(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.OnExtprocLoss = "deny"
	s := start(t, harness.Options{ // each request waits for extproc
		Services: []harness.Service{svc}, MessageTimeout: "100ms", FastPath: harness.FastPathOff,
	})
	harness.Eventually(t, harness.Patience, "it is served before the loss", func() error {
		_, err := s.OK(harness.InHeader("x"))
		return err
	})
	s.Extproc.Kill(t)
	served := func(edits ...harness.Edit) error {
		a, err := s.Get(edits...)
		if err == nil && (a.Status != http.StatusServiceUnavailable || a.Pod != "") {
			err = fmt.Errorf("status %d from %q", a.Status, a.Pod)
		}
		return err
	}
	if err := served(); err != nil {
		t.Errorf("without a key: %v", err)
	}
	if err := served(harness.InHeader("x")); err != nil {
		t.Errorf("with a key: %v", err)
	}
	eachForgery(t, s, func(name string, forged harness.Edit) {
		if err := served(harness.InHeader("x"), forged); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	s.Extproc.Start(t)
	harness.Eventually(t, harness.Patience, "it is served again", func() error {
		_, err := s.OK(harness.InHeader("x"))
		return err
	})
}

// checkUnboundSpread sends forged requests without a session: every pod must
// get some of them.
func checkUnboundSpread(t *testing.T, s *harness.Stack, name string, forged harness.Edit) {
	t.Helper()
	seen := map[string]int{}
	for range 9 {
		a, err := s.OK(forged)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		seen[a.Pod]++
	}
	for _, pod := range []string{"chat-0", "chat-1", "chat-2"} {
		if seen[pod] == 0 {
			t.Errorf("%s: nine unbound requests went to %v only", name, slices.Sorted(maps.Keys(seen)))
			return
		}
	}
}
