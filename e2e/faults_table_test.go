package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// faults are all that is broken, in this order.
var faults = []faultKind{
	{"kill -9 of a replica", true, (*faultRun).killReplica},
	{"kill -9 of all replicas in turn", false, (*faultRun).killInTurn},
	{"SIGTERM of all replicas in turn", true, (*faultRun).restartInTurn},
	{"SIGSTOP of a replica", true, (*faultRun).stopReplica},
	{"all replicas down", true, (*faultRun).allDown},
	{"store killed", false, (*faultRun).storeKilled},
	{"store killed, its data lost", true, (*faultRun).storeLost},
	{"kill -9 of a pod", true, (*faultRun).killPod},
	{"pods' health flaps", false, (*faultRun).flap},
	{"a pod more", false, (*faultRun).scale4},
	{"a pod drains", true, (*faultRun).drain},
	{"sessions are moved", false, (*faultRun).moveSessions},
	{"xds-server down, crash-looping, then other pods", true, (*faultRun).xdsAway},
	{"nothing", false, (*faultRun).rest},
	{"restart of all replicas with a full store", false, (*faultRun).restartAll},
}

// inFlight excuses what a replica that is killed now had before it.
func (r *faultRun) inFlight() {
	at := time.Now()
	r.excuse(excused, func(s faultSeen, _ string, _ time.Time) bool { return s.began.Before(at) && s.ended.After(at) })
}

func (r *faultRun) awaitLeft(replica harness.Replica) time.Duration {
	r.t.Helper()
	return harness.Eventually(r.t, harness.Patience, "Envoy leaves the replica", r.AsksReplica(replica, false))
}

func (r *faultRun) awaitAsked(replica harness.Replica) {
	r.t.Helper()
	harness.Eventually(r.t, harness.Patience, "Envoy asks the replica", r.AsksReplica(replica, true))
}

func (r *faultRun) last() harness.Replica { return r.Replicas[len(r.Replicas)-1] }

func (r *faultRun) killReplica() {
	dies := r.last()
	began := time.Now()
	r.inFlight()
	dies.Kill(r.t)
	r.then(func(all []faultSeen, sums faultSums) {
		n := 0
		for _, s := range all {
			if s.began.Before(began) && s.ended.After(began) {
				n++
			}
		}
		r.figure(true, "%d requests in flight at all replicas, %d failed", n, sums.excused)
	})
	r.awaitLeft(dies)
	r.lasts(5*time.Second, 0)
	r.round()
	dies.Start(r.t)
	ready(r.t, dies)
	r.awaitAsked(dies)
}

func (r *faultRun) killInTurn() {
	for _, replica := range r.Replicas {
		r.inFlight()
		replica.Kill(r.t)
		r.awaitLeft(replica)
		replica.Start(r.t)
		ready(r.t, replica)
		r.awaitAsked(replica)
	}
}

func (r *faultRun) restartInTurn() {
	for _, replica := range r.Replicas {
		replica.Stop(r.t)
		r.must(replica.ExitCode() == 0, "%s ended with exit code %d", replica.Name, replica.ExitCode())
		replica.Start(r.t)
		ready(r.t, replica)
	}
}

func (r *faultRun) stopReplica() {
	stands := r.last()
	key := harness.Keys(1)[0]
	owner := r.load.ask("side", key)
	r.must(owner.failure == "", "a session's first request: %s", owner.failure)
	stands.Signal(syscall.SIGSTOP)
	at := time.Now()
	took := r.awaitLeft(stands)
	r.within(3*time.Second, took, "left by Envoy after")
	to := map[string]string{"side-0": "side-1", "side-1": "side-0"}[owner.pod]
	r.moveThrough(r.Replicas[0], key, to)
	r.within(2*r.scale.lease, time.Since(at), "a session was moved after")
	r.round()
	goesOn := time.Now()
	stands.Signal(syscall.SIGCONT)
	// It is asked as soon as it goes on, and may say nothing until it has a lease again.
	check := func() error {
		err := r.leases(true)()
		s := r.load.send("side", key, steady)
		known := err == nil && r.scale.long // a busy machine may let it run out again
		r.must(s.pod == to || !known && s.reason == "table-unavailable", "moved to %s, and served by %q, %s", to, s.pod, s.failure)
		return err
	}
	harness.Eventually(r.t, harness.Patience, "its lease runs", check)
	r.awaitAsked(stands)
	leased := time.Now()
	for range 10 {
		_ = check()
	}
	r.excuse(refused, func(s faultSeen, _ string, _ time.Time) bool {
		return s.service == "strict" && s.reason == "table-unavailable" && s.ended.After(goesOn) && s.began.Before(leased)
	})
	r.figure(true, "refused until %v after it went on", rounded(leased.Sub(goesOn)))
}

func (r *faultRun) allDown() {
	at := time.Now()
	for _, replica := range r.Replicas {
		replica.Kill(r.t)
	}
	for _, replica := range r.Replicas {
		r.awaitLeft(replica)
	}
	known := time.Now()
	r.lasts(30*time.Second, time.Second)
	r.back(at, known)
}

// back starts all replicas, which have been away since at, as Envoy knows since known.
func (r *faultRun) back(at, known time.Time) {
	r.t.Helper()
	began := time.Now()
	for _, replica := range r.Replicas {
		replica.Start(r.t)
	}
	ready(r.t, r.Replicas[0])
	returned := time.Now()
	for _, replica := range r.Replicas {
		ready(r.t, replica)
	}
	r.within(5*time.Second, time.Since(began), "all ready after")
	for _, replica := range r.Replicas {
		r.awaitAsked(replica)
	}
	back := time.Now()
	away := func(s faultSeen) bool { return s.ended.After(at) && s.began.Before(back) }
	r.excuse(astray, func(s faultSeen, _ string, _ time.Time) bool { return s.service == "chat" && away(s) })
	r.excuse(refused, func(s faultSeen, _ string, _ time.Time) bool {
		return s.service == "strict" && s.reason == "extproc-lost" && away(s)
	})
	r.then(func(all []faultSeen, sums faultSums) {
		var took []time.Duration
		end := returned
		for _, s := range all {
			if s.reason != "extproc-lost" {
				continue
			}
			if s.began.After(known) {
				took = append(took, s.took())
			}
			if s.ended.After(end) {
				end = s.ended
			}
		}
		// On a busy machine everything takes its time; waiting for a replica takes longer.
		r.within(max(100*time.Millisecond, rounded(sums.p99)), quantile(took, 99), "refused at once, p99")
		r.within(2*time.Second, end.Sub(returned), "the last refusal after the first replica was ready")
	})
}

func (r *faultRun) storeKilled() {
	r.warm()
	at := time.Now()
	r.store.Kill()
	harness.Eventually(r.t, harness.Patience, "the leases run out", r.leases(false))
	r.lasts(55*time.Second, 0)
	r.storeBack(at)
}

func (r *faultRun) storeLost() {
	at := time.Now()
	r.store.Kill()
	if err := os.RemoveAll(filepath.Join(r.store.Dir(), "appendonlydir")); err != nil {
		r.t.Fatal(err)
	}
	r.storeBack(at)
}

// warm has every replica know every steady session, but for one in 25,000.
func (r *faultRun) warm() {
	for service, keys := range r.load.keys {
		for range 25 {
			r.load.burst(service, keys, 16)
		}
	}
}

// storeBack starts the store, which has been away since at.
func (r *faultRun) storeBack(at time.Time) {
	r.t.Helper()
	began := time.Now()
	r.store.Restart()
	harness.Eventually(r.t, harness.Patience, "the leases run", r.leases(true))
	fresher := harness.Keys(1)[0]
	harness.Eventually(r.t, harness.Patience, "new sessions are bound", func() error {
		if s := r.load.ask("strict", fresher); s.failure != "" {
			return fmt.Errorf("%s", s.failure)
		}
		return nil
	})
	// What was placed meanwhile is put into the store a moment later.
	back := time.Now().Add(time.Second)
	r.figure(true, "new sessions bound %v after its return", rounded(time.Since(began)))
	away := func(s faultSeen) bool { return s.ended.After(at) && s.began.Before(back) }
	r.excuse(astray, func(s faultSeen, _ string, _ time.Time) bool { return s.kind == fresh && away(s) })
	r.excuse(refused, func(s faultSeen, _ string, _ time.Time) bool {
		return s.service == "strict" && s.reason == "table-unavailable" && away(s)
	})
	conflicts := 0.0
	for _, replica := range r.Replicas {
		n, err := harness.Metric(replica.Admin+"/metrics", "stateful_route_store_conflicts_total")
		if err == nil {
			conflicts += n
		}
	}
	r.figure(true, "%.0f conflicts counted", conflicts)
}
