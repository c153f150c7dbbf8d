package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/stateful-route/stateful-route/extproc/admin"
)

// answer is what an extproc that was named says of the replicas, or why it does not.
type answer struct {
	server
	said admin.Replicas
	err  error
}

// shares reports whether it shares its bindings, and reaches the store.
func (a answer) shares() bool {
	return a.said.Store.Kind != admin.StoreMemory && a.said.Store.State != admin.StoreUnreachable
}

// askReplicas asks every extproc that was named, all at once.
func (c *ctl) askReplicas(ctx context.Context) []answer {
	all := make([]answer, len(c.extprocURLs))
	var asked sync.WaitGroup
	for i, s := range c.extprocs() {
		asked.Go(func() {
			all[i].server = s
			all[i].err = s.get(ctx, "/api/v1/replicas", &all[i].said)
			if hasStatus(all[i].err, http.StatusNotFound) { // an older one, which shares with nobody
				all[i].err = nil
				all[i].said.Store = admin.Store{Kind: admin.StoreMemory, State: admin.StoreOpen}
			}
		})
	}
	asked.Wait()
	return all
}

// target is an extproc to be asked about sessions, on behalf of all that share them.
type target struct {
	server
	replicas int   // how many those are
	err      error // why it cannot be asked
}

// targets are the extprocs to ask about sessions: one of those that share a store, and
// each that shares with nobody. Where some share one, those that reach no store, or do not
// answer, are left out: their sessions are the others', too.
func (c *ctl) targets(ctx context.Context) []target {
	var sharing, cutOff, alone, silent []target
	stores := map[string]bool{}
	for _, a := range c.askReplicas(ctx) {
		t := target{a.server, 1, a.err}
		switch {
		case a.err != nil:
			silent = append(silent, t)
		case a.said.Store.Kind == admin.StoreMemory:
			alone = append(alone, t)
		case !a.shares():
			cutOff = append(cutOff, t)
		case !stores[a.said.Store.Incarnation]:
			stores[a.said.Store.Incarnation] = true
			t.replicas = len(a.said.Replicas)
			sharing = append(sharing, t)
		}
	}
	switch {
	case len(sharing) > 0:
		for _, t := range silent {
			c.tell(fmt.Sprintf("%v: its sessions are taken to be those of the others", t.err))
		}
		return append(sharing, alone...)
	case len(cutOff) > 0:
		return append(cutOff[:1], alone...) // it says that the store is away
	}
	return append(alone, silent...)
}

// tell writes a line to standard error, once.
func (c *ctl) tell(line string) {
	if c.told == nil {
		c.told = map[string]bool{}
	}
	if !c.told[line] {
		c.told[line] = true
		fmt.Fprintln(c.Stderr, "routectl:", line)
	}
}

// replicasReport is what `replicas` prints.
type replicasReport struct {
	Stores []storeReplicas `json:"stores"`
	// Unanswered are extprocs that were named and do not answer.
	Unanswered []unanswered `json:"unanswered"`
}

// storeReplicas is a store as one of those that share it sees it, and all of those. A
// store.memory is shared with nobody.
type storeReplicas struct {
	admin.Store
	Replicas []replicaRow `json:"replicas"`
}

// replicaRow is a replica, and the URL by which it was named; without one it is registered
// and was not named.
type replicaRow struct {
	admin.Replica
	URL string `json:"url"`
}

type unanswered struct {
	URL   string `json:"url"`
	Error string `json:"error"`
}

func (c *ctl) replicasCommand() *cobra.Command {
	return &cobra.Command{
		Use: "replicas", Short: "List the extprocs, their leases and the store that they share", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := gather(c.askReplicas(cmd.Context()))
			return errors.Join(c.show(report, func(w io.Writer) { replicasTable(w, report) }), err)
		},
	}
}

// gather joins what replicas of one store say: each speaks for itself, and those that were
// not named are as one that was sees them. The error names those that did not answer.
func gather(answers []answer) (replicasReport, error) {
	out := replicasReport{Stores: []storeReplicas{}, Unanswered: []unanswered{}}
	var failed []error
	for _, a := range answers {
		if a.err != nil {
			out.Unanswered = append(out.Unanswered, unanswered{a.url, a.err.Error()})
			failed = append(failed, a.err)
			continue
		}
		out.add(a)
	}
	for i := range out.Stores {
		slices.SortFunc(out.Stores[i].Replicas, func(a, b replicaRow) int { return cmp.Compare(a.ID, b.ID) })
	}
	return out, errors.Join(failed...)
}

// add adds what one replica says. It sorts a replica that does not reach its store to the
// others of the incarnation that it knew.
func (r *replicasReport) add(a answer) {
	i := slices.IndexFunc(r.Stores, func(s storeReplicas) bool {
		return s.Kind == a.said.Store.Kind && s.Kind != admin.StoreMemory && s.Incarnation == a.said.Store.Incarnation
	})
	if i < 0 {
		i = len(r.Stores)
		r.Stores = append(r.Stores, storeReplicas{Store: a.said.Store})
	}
	s := &r.Stores[i]
	if s.State == admin.StoreUnreachable && a.shares() {
		s.Store = a.said.Store
	}
	for _, one := range a.said.Replicas {
		row := replicaRow{Replica: one}
		if one.Self {
			row.URL = a.url
		}
		s.put(row)
	}
}

// put keeps what a replica says of itself, or else the best that others know.
func (s *storeReplicas) put(row replicaRow) {
	i := slices.IndexFunc(s.Replicas, func(r replicaRow) bool { return r.ID == row.ID })
	switch {
	case i < 0:
		s.Replicas = append(s.Replicas, row)
	case row.Self || !s.Replicas[i].Self && s.Replicas[i].Store == admin.StoreUnknown:
		s.Replicas[i] = row
	}
}

func replicasTable(w io.Writer, r replicasReport) {
	row(w, "REPLICA", "EXTPROC", "STORE", "STATE", "LEASE LEFT", "BINDINGS", "CONFLICTS", "LOG", "VERSION")
	for _, s := range r.Stores {
		for _, one := range s.Replicas {
			row(w, one.ID, cmp.Or(one.URL, "(not named)"), s.Kind, one.Store, left(one.LeaseLeft), one.Bindings, one.Conflicts, one.log(s.Kind), one.Version)
		}
	}
	for _, s := range r.Stores {
		if s.Kind != admin.StoreMemory {
			fmt.Fprintln(w, printable(s.describe()))
		}
		for _, one := range s.Replicas {
			if one.URL == "" {
				fmt.Fprintf(w, "%s is registered and not named: --extproc-admin %s\n", printable(one.ID), printable(cmp.Or(one.Admin, "its URL")))
			}
		}
	}
}

// left shows what is left of a lease.
func left(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return time.Duration(*seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// log is how far a replica has acted on the log of changes.
func (r replicaRow) log(kind string) string {
	if kind == admin.StoreMemory {
		return ""
	}
	return strconv.FormatUint(r.Position, 10)
}

// describe is one line about a store.
func (s storeReplicas) describe() string {
	text := fmt.Sprintf("store %s at %s: %s", s.Kind, strings.Join(s.Addresses, ", "), s.State)
	if s.Incarnation != "" {
		text += ", incarnation " + s.Incarnation
	}
	if s.Error != "" {
		text += ": " + s.Error
	}
	return text
}

// summary is one line about a store and its replicas.
func (s storeReplicas) summary() string {
	without := 0
	for _, one := range s.Replicas {
		if one.leaseless() {
			without++
		}
	}
	text := fmt.Sprintf("store %s: %s, shared by %s", s.Kind, s.State, count(len(s.Replicas), "replica"))
	if without > 0 {
		text += fmt.Sprintf(", %d without a lease: see routectl replicas", without)
	}
	return text
}

// leaseless reports whether a replica is known to have no lease.
func (r replicaRow) leaseless() bool { return r.LeaseLeft != nil && *r.LeaseLeft <= 0 }

// replicas finds what is wrong among replicas; recent is how long ago a conflict is still
// worth a line.
func (r *checkReport) replicas(found replicasReport, now time.Time, recent time.Duration) {
	var reached []string
	for _, s := range found.Stores {
		if s.Kind == admin.StoreMemory || s.State != admin.StoreUnreachable {
			reached = append(reached, s.which())
		}
		if s.State == admin.StoreRecovering {
			r.add("store", "%s takes no changes: it waits for what replicas put back", s.which())
		}
		for _, one := range s.Replicas {
			r.replica(one, now, recent)
		}
	}
	slices.Sort(reached)
	if reached = slices.Compact(reached); len(reached) > 1 {
		r.add("store", "the extprocs do not share their sessions: they have %s", strings.Join(reached, " and "))
	}
}

func (r *checkReport) replica(one replicaRow, now time.Time, recent time.Duration) {
	name := "replica " + one.ID
	if one.URL != "" {
		name = "extproc at " + one.URL
	}
	switch {
	case one.Self && one.leaseless(): // it says so itself, as a degraded server
	case one.Self && one.Store == admin.StoreUnreachable:
		r.add("store", "%s does not reach the store: it may answer for another %s", name, left(one.LeaseLeft))
	case one.leaseless():
		r.add("store", "%s has no lease: it has not reached the store", name)
	}
	if !one.LastConflict.IsZero() && now.Sub(one.LastConflict) < recent {
		r.add("conflict", "%s gave up %s, for the store had others: the last one %s ago", name, count(int(one.Conflicts), "binding"), since(now, one.LastConflict))
	}
}

// which names a store among others.
func (s storeReplicas) which() string {
	if s.Kind == admin.StoreMemory {
		return "store.memory"
	}
	return fmt.Sprintf("store.%s at %s (incarnation %s)", s.Kind, strings.Join(s.Addresses, ", "), s.Incarnation)
}
