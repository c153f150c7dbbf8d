package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/extproc/admin"
	"github.com/stateful-route/stateful-route/livepage"
)

// sharing waits until both extprocs know each other with a lease.
func (s *stack) sharing(t *testing.T) (r replicasReport) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "two replicas have a lease", func() error {
		r = replicasReport{}
		parse(t, s.ok(t, "replicas", "-o", "json"), &r)
		if len(r.Stores) != 1 || len(r.Stores[0].Replicas) != 2 || r.Stores[0].State != admin.StoreOpen {
			return fmt.Errorf("%+v", r)
		}
		for _, one := range r.Stores[0].Replicas {
			if one.LeaseLeft == nil || *one.LeaseLeft <= 0 || one.URL == "" {
				return fmt.Errorf("%+v", one)
			}
		}
		return nil
	})
	return r
}

// What replicas share is listed, counted and changed once, through whichever of them.
func TestSharedSessionsAreOnesOfAll(t *testing.T) {
	s, _ := startSharing(t)
	s.sharing(t)
	s.bind(t, 0, "chat", "chat-0", "a", "b")
	s.bind(t, 1, "chat", "chat-1", "c")
	var list sessionList
	parse(t, s.ok(t, "sessions", "list", "-o", "json"), &list)
	if len(list.Sessions) != 3 {
		t.Errorf("listed: %+v", list.Sessions)
	}
	if out := s.ok(t, "sessions", "show", "chat", "c"); strings.Count(out, " chat-1 ") != 1 {
		t.Errorf("shown:\n%s", out)
	}
	if out := s.ok(t, "sessions", "move", "chat", "c", "chat-0"); strings.Count(out, " chat-0 ") != 1 {
		t.Errorf("moved:\n%s", out)
	}
	if out := s.ok(t, "sessions", "delete", "chat", "c"); out != "forgotten by 2 extprocs\n" {
		t.Errorf("deleted: %s", out)
	}
	drain := s.start("pods", "drain", "chat", "chat-0", "--wait", "--timeout", "1m")
	drain.expect(t, "chat-0 of chat is draining")
	drain.expect(t, "2 sessions left")
	s.ok(t, "sessions", "delete", "chat", "a")
	drain.expect(t, "1 session left")
	if out := s.ok(t, "sessions", "flush", "chat", "--yes"); out != "1 session forgotten by 2 extprocs\n" {
		t.Errorf("flushed: %s", out)
	}
	drain.expect(t, "0 sessions left")
	drain.end(t, 0)
}

// A replica that is away is no part of the answer: its sessions are the others'.
func TestSessionsOfAReplicaThatIsAwayAreListed(t *testing.T) {
	s, _ := startSharing(t)
	s.sharing(t)
	s.bind(t, 0, "chat", "chat-0", "a")
	s.bind(t, 1, "chat", "chat-1", "b")
	s.extproc.Kill(t)
	code, stdout, stderr := s.run("sessions", "list")
	away := "routectl: extproc at http://" + s.extprocAdmins[0] + " cannot be reached: connect: connection refused: its sessions are taken to be those of the others\n"
	if code != 0 || strings.Count(stdout, "\n") != 3 || stderr != away {
		t.Errorf("%v", errorOf(code, stdout, stderr))
	}
	drain := s.start("pods", "drain", "chat", "chat-0", "--wait", "--timeout", "1m")
	drain.expect(t, "1 session left")
	s.run("sessions", "delete", "chat", "a")
	drain.expect(t, "0 sessions left")
	drain.end(t, 0)
	if drain.stderr.String() != away {
		t.Errorf("the drain says %q", &drain.stderr)
	}
}

func TestReplicasAreNamed(t *testing.T) {
	s, server := startSharing(t)
	connectEnvoy(t, s.xdsAddress).answer(t, "")
	r := s.sharing(t)
	s.until(t, "store valkey: open, shared by 2 replicas\n", "status")
	s.until(t, "nothing is wrong", "check")
	out := s.ok(t, "replicas")
	for i, admin := range s.extprocAdmins {
		if !strings.Contains(out, "http://"+admin+" ") {
			t.Errorf("extproc %d is not in\n%s", i, out)
		}
	}
	if want := "store valkey at " + server.Addr() + ": open, incarnation " + r.Stores[0].Incarnation + "\n"; !strings.HasSuffix(out, want) {
		t.Errorf("no %q at the end of\n%s", want, out)
	}

	all := s.extprocAdmins
	s.extprocAdmins = all[:1]
	if out := s.ok(t, "replicas"); !strings.Contains(out, " is registered and not named: --extproc-admin "+all[1]+"\n") {
		t.Errorf("the second is not named:\n%s", out)
	}
	s.extprocAdmins = all

	s.second.Kill(t)
	code, stdout, stderr := s.run("replicas")
	if code != 1 || !strings.Contains(stdout, all[0]) || !strings.Contains(stderr, "extproc at http://"+all[1]+" cannot be reached") {
		t.Errorf("one is away: %v", errorOf(code, stdout, stderr))
	}
	s.until(t, "has no lease: it has not reached the store", "check") // until it is off the register
	s.second.Start(t)
	s.until(t, "nothing is wrong", "check")

	harness.Eventually(t, harness.Patience, "the live page knows both leases", s.onPage("open", true))
	server.Kill()
	harness.Eventually(t, harness.Patience, "the live page knows that they have none", s.onPage("unreachable", false))
	for _, admin := range all {
		s.until(t, "extproc at http://"+admin+": the store does not answer, or does not know this replica", "check")
	}
	s.until(t, "store valkey: unreachable, shared by 2 replicas, ", "status")
	if code, stdout, stderr := s.run("sessions", "list"); code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "extproc at http://"+all[0]+": ") {
		t.Errorf("a list without a store: %v", errorOf(code, stdout, stderr))
	}
	server.Restart()
	s.until(t, "nothing is wrong", "check")
}

// onPage checks what the live page is told of the extprocs.
func (s *stack) onPage(store string, leases bool) func() error {
	return func() error {
		resp, err := s.http.Get("http://" + s.xdsAdmin + "/api/v1/live")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var state livepage.State
		for lines, found := bufio.NewReader(resp.Body), false; ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return err
			}
			found = found || line == "event: state\n"
			if data, ok := strings.CutPrefix(line, "data: "); ok && found {
				if err := json.Unmarshal([]byte(data), &state); err != nil {
					return err
				}
				break
			}
		}
		for _, one := range state.Extprocs {
			if one.Store != store || (one.LeaseLeft > 0) != leases || !strings.HasPrefix(one.Node, "extproc/") {
				return fmt.Errorf("%+v", one)
			}
		}
		if len(state.Extprocs) != 2 {
			return fmt.Errorf("%d extprocs", len(state.Extprocs))
		}
		return nil
	}
}

func TestGatherTakesEachReplicasOwnWord(t *testing.T) {
	half, none := 0.5, 0.0
	store := func(state string) admin.Store {
		return admin.Store{Kind: admin.StoreValkey, State: state, Incarnation: "one", Addresses: []string{"db:1"}}
	}
	one := server{kind: "extproc", url: "http://one"}
	two := server{kind: "extproc", url: "http://two"}
	three := server{kind: "extproc", url: "http://three"}
	cutOff := answer{server: one, said: admin.Replicas{Store: store(admin.StoreUnreachable), Replicas: []admin.Replica{
		{ID: "a", Self: true, Store: admin.StoreUnreachable, LeaseLeft: &none},
		{ID: "b", Store: admin.StoreUnknown}, {ID: "c", Store: admin.StoreUnknown},
	}}}
	reaches := answer{server: two, said: admin.Replicas{Store: store(admin.StoreOpen), Replicas: []admin.Replica{
		{ID: "a", Store: admin.StoreOpen, LeaseLeft: &half},
		{ID: "b", Self: true, Store: admin.StoreOpen, LeaseLeft: &half, Conflicts: 3, LastConflict: time.Now().Add(-time.Minute)},
		{ID: "c", Store: admin.StoreOpen, LeaseLeft: &half, Conflicts: 9, LastConflict: time.Now().Add(-time.Hour)},
	}}}
	for _, order := range [][]answer{{cutOff, reaches}, {reaches, cutOff}} {
		found, err := gather(append(order, answer{server: three, err: errors.New("three is away")}))
		if err == nil || len(found.Unanswered) != 1 || found.Unanswered[0].URL != "http://three" {
			t.Errorf("%v, %+v", err, found.Unanswered)
		}
		if len(found.Stores) != 1 || found.Stores[0].State != admin.StoreOpen || len(found.Stores[0].Replicas) != 3 {
			t.Fatalf("%+v", found.Stores)
		}
		a, b, c := found.Stores[0].Replicas[0], found.Stores[0].Replicas[1], found.Stores[0].Replicas[2]
		if a.URL != "http://one" || a.Store != admin.StoreUnreachable || b.URL != "http://two" || c.URL != "" || c.Store != admin.StoreOpen {
			t.Errorf("%+v", found.Stores[0].Replicas)
		}
		var r checkReport
		r.replicas(found, time.Now(), 10*time.Minute)
		want := "extproc at http://two gave up 3 bindings, for the store had others: the last one 1m0s ago"
		if len(r.Problems) != 1 || r.Problems[0].Message != want {
			t.Errorf("found %q", r.Problems)
		}
	}
}

func TestCheckSeesExtprocsThatDoNotShare(t *testing.T) {
	memory := answer{said: admin.Replicas{Store: admin.Store{Kind: admin.StoreMemory, State: admin.StoreOpen}}}
	valkey := answer{said: admin.Replicas{Store: admin.Store{Kind: admin.StoreValkey, State: admin.StoreRecovering, Incarnation: "one", Addresses: []string{"db:1"}}}}
	for want, answers := range map[string][]answer{
		"":                           {memory, memory},
		"it waits for what replicas": {valkey, valkey},
		"they have store.memory and store.valkey at db:1 (incarnation one)": {memory, valkey},
	} {
		found, err := gather(answers)
		if err != nil {
			t.Fatal(err)
		}
		var r checkReport
		r.replicas(found, time.Now(), time.Minute)
		if got := fmt.Sprint(r.Problems); !strings.Contains(got, want) || (want == "") != (len(r.Problems) == 0) {
			t.Errorf("%s, want %q", got, want)
		}
	}
}
