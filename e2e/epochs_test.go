package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/epoch"
	"github.com/stateful-route/stateful-route/wire"
)

// seenEpochs is the header by which a pod says what it got that somebody could take for the
// header of the epoch: NAME=VALUE of each.
const seenEpochs = "X-Seen-Epochs"

func sayEpochs(w http.ResponseWriter, r *http.Request) {
	for name, values := range r.Header {
		if strings.ReplaceAll(strings.ToLower(name), "_", "-") != wire.EpochHeader {
			continue
		}
		for _, value := range values {
			w.Header().Add(seenEpochs, name+"="+value)
		}
	}
}

// epochSeen is the epoch that the pod of an answer was told; 0 if none.
func epochSeen(t *testing.T, what string, a harness.Answer, err error) uint64 {
	t.Helper()
	seen := a.Header[seenEpochs]
	if err != nil || len(seen) > 1 {
		t.Errorf("%s: the pod saw %q, %v", what, seen, err)
	}
	if err != nil || len(seen) != 1 {
		return 0
	}
	name, value, _ := strings.Cut(seen[0], "=")
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || name != epoch.Header {
		t.Errorf("%s: the pod saw %q", what, seen)
	}
	return n
}

// forgedEpochs are ways in which a client could try to tell a pod an epoch, or keep it from
// being told one.
func forgedEpochs() map[string]harness.Edit {
	const forged = "18446744073709551615"
	out := map[string]harness.Edit{
		"mixed case":        harness.RawHeader("X-sTaTeFuL-rOuTe-EPOCH", forged),
		"repeated":          harness.RawHeader(wire.EpochHeader, forged, forged, ""),
		"lower":             harness.RawHeader(wire.EpochHeader, "1"),
		"as hop by hop":     harness.RawHeader("Connection", wire.EpochHeader, "close"),
		"as hop by hop, TE": harness.RawHeader("Connection", "TE, "+wire.EpochHeader),
		"all at once":       func(*http.Request) {},
	}
	for i := range 8 {
		name := "x"
		for bit, part := range []string{"stateful", "route", "epoch"} {
			name += string("-_"[i>>bit&1]) + part
		}
		out["as "+name] = harness.RawHeader(name, forged)
		before := out["all at once"]
		out["all at once"] = func(r *http.Request) { before(r); r.Header[name] = []string{forged} }
	}
	return out
}

// The pod of a session is told its epoch, which grows with every change, and by nobody else,
// whatever a client sends and whether extproc is there or not.
func TestPodsAreToldTheEpoch(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.EpochHeader = true
	svc.Session.OnExtprocLoss = "allow"
	answeringPods(t, &svc, func(_ int, w http.ResponseWriter, r *http.Request) { sayEpochs(w, r) })
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	session := s.ExtprocAdmin + "/api/v1/sessions/chat/s"
	last := uint64(0)
	ask := func(what string, grows bool) harness.Answer {
		t.Helper()
		a, err := s.OK(harness.InHeader("s"))
		told := epochSeen(t, what, a, err)
		var shown struct{ Epoch uint64 }
		if err := harness.JSON(session, &shown); err != nil || shown.Epoch != told {
			t.Errorf("%s: the pod was told %d, the admin API says %d, %v", what, told, shown.Epoch, err)
		}
		if told == 0 || grows != (told > last) || !grows && told != last {
			t.Errorf("%s: epoch %d after %d", what, told, last)
		}
		last = told
		return a
	}
	forge := func(what string, want uint64, edits ...harness.Edit) {
		t.Helper()
		for way, forged := range forgedEpochs() {
			a, err := s.OK(append(slices.Clone(edits), forged)...)
			if told := epochSeen(t, what+", forged "+way, a, err); told != want {
				t.Errorf("%s, forged %s: the pod was told %d, want %d", what, way, told, want)
			}
		}
	}
	first := ask("claimed", true)
	ask("used again", false)
	forge("bound", last, harness.InHeader("s"))
	forge("unbound", 0)

	other := "chat-0"
	if first.Pod == other {
		other = "chat-1"
	}
	bind(t, s, "s", other)
	if a := ask("moved", true); a.Pod != other {
		t.Errorf("moved to %s, served by %s", other, a.Pod)
	}
	s.Order(t, "chat", other, "maintenance")
	harness.Eventually(t, harness.Patience, "the session to be rebound", func() error {
		a, err := s.OK(harness.InHeader("s"))
		if err == nil && a.Pod == other {
			err = fmt.Errorf("served by %s", a.Pod)
		}
		return err
	})
	ask("rebound", true)
	if _, err := harness.Call(http.MethodDelete, session, ""); err != nil {
		t.Fatal(err)
	}
	ask("deleted and claimed anew", true)
	back := func() {
		t.Helper()
		s.Extproc.Start(t)
		harness.Eventually(t, harness.Patience, "extproc to decide again", func() error {
			a, err := s.OK(harness.InHeader("s"))
			if err == nil && len(a.Header[seenEpochs]) == 0 {
				err = fmt.Errorf("unbound")
			}
			return err
		})
	}
	s.Extproc.Stop(t)
	forge("without extproc", 0, harness.InHeader("s"))
	back()
	here := ask("after an orderly restart", false).Pod
	there := first.Pod
	if there == here {
		there = "chat-2"
	}
	bind(t, s, "s", there)
	ask("moved", true)
	bind(t, s, "s", here)
	s.Extproc.Kill(t) // before the file has heard of it, perhaps
	back()
	ask("after kill -9", true)
}

// What an outdated router sends is refused by a pod that knows better, and what a pod
// refuses is tried nowhere else, changes nothing, and reaches the client.
func TestAPodRefusesAnOutdatedRouter(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(2)
	svc.Session.EpochHeader = true
	svc.Session.Learn = []map[string]any{{"header": "mcp-session-id"}}
	var pods []http.Handler
	for range svc.Pods.Static {
		pod, err := epoch.Handler(http.HandlerFunc(sayEpochs), epoch.Options{Key: func(r *http.Request) string { return r.Header.Get("x-session-id") }})
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, pod)
	}
	var asked atomic.Int64
	answeringPods(t, &svc, func(pod int, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			asked.Add(1)
			w.Header().Set("mcp-session-id", "named-by-the-refused")
			w.WriteHeader(http.StatusMisdirectedRequest)
			return
		}
		pods[pod].ServeHTTP(w, r)
	})
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	told := func() (harness.Answer, uint64) {
		t.Helper()
		a, err := s.OK(harness.InHeader("s"))
		return a, epochSeen(t, "served", a, err)
	}
	bind(t, s, "s", "chat-0")
	_, first := told()
	bind(t, s, "s", "chat-1")
	bind(t, s, "s", "chat-0")
	_, second := told()
	if second <= first {
		t.Fatalf("epoch %d after %d", second, first)
	}
	// An outdated router still knows the first binding, which was to the same pod.
	for _, c := range []struct {
		epoch uint64
		want  int
	}{{first, 421}, {second, 200}, {second - 1, 421}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+svc.Pods.Static[0].Address, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("x-session-id", "s")
		r.Header.Set(wire.EpochHeader, strconv.FormatUint(c.epoch, 10))
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != c.want {
			t.Errorf("epoch %d: %d, want %d", c.epoch, response.StatusCode, c.want)
		}
	}

	a, err := s.Get(harness.InHeader("s"), harness.Path("/refused"))
	if err != nil || a.Status != http.StatusMisdirectedRequest || asked.Load() != 1 {
		t.Errorf("the client got %d, %v, after %d pods", a.Status, err, asked.Load())
	}
	if n, err := s.EnvoyStat("cluster.chat.upstream_rq_421"); err != nil || n != 1 {
		t.Errorf("Envoy counts %d, %v", n, err)
	}
	if a, same := told(); a.Pod != "chat-0" || same != second {
		t.Errorf("after a refusal the session is served by %s with epoch %d, want chat-0 and %d", a.Pod, same, second)
	}
	sessions, err := shownSessions(s)
	if one, ok := sessions["named-by-the-refused"]; err != nil || !ok || one.Pod != "chat-0" {
		t.Errorf("a session that the refused response names: %+v, %v", one, err)
	}
}
