package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/fastpath"
)

// slowMirror takes its time for each session, as a busy machine does.
type slowMirror struct{ *fastPath }

func (m slowMirror) Show(service, key, pod string, age time.Duration, id uint64) bool {
	time.Sleep(200 * time.Microsecond)
	return m.fastPath.Show(service, key, pod, age, id)
}

// told counts what a journal is told of.
type told struct{ puts, deletes int }

func (j *told) Put(statefulroute.Binding) { j.puts++ }

func (j *told) Delete(string, string) { j.deletes++ }

// Sessions that were restored and shown, and that nobody has used since, are no news for the
// file when the process ends, however long it took to show them: to write a million of them
// would take five seconds, for which new sessions wait at a restart.
func TestWhatWasRestoredIsNoNewsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sessions = 10_000
		began := time.Now()
		table, err := fastpath.Create(fastpath.Options{
			Path: filepath.Join(t.TempDir(), "table"), Capacity: 2 * sessions, Pods: 2, Services: 1,
			Now: func() time.Duration { return time.Hour + time.Since(began) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = table.Close(false) }()
		svc := fastService()[0]
		pod := svc.Pods[0]
		if err := table.SetService(svc.Service); err != nil {
			t.Fatal(err)
		}
		if err := table.SetPod(svc.Service.Name, pod.Name, pod.Address, true); err != nil {
			t.Fatal(err)
		}
		journal := &told{}
		bindings, err := affinity.New(affinity.Options{Capacity: 2 * sessions, Mirror: slowMirror{&fastPath{table: table}}, Journal: journal})
		if err != nil {
			t.Fatal(err)
		}
		restored := make([]statefulroute.Binding, sessions)
		for i := range restored {
			restored[i] = statefulroute.Binding{
				Service: svc.Service.Name, Key: fmt.Sprint("s-", i), Pod: pod.Name, Epoch: 1, Created: began, LastSeen: began.Add(-10 * time.Minute), Requests: 2,
			}
		}
		if n := bindings.Restore(restored, began); n != sessions {
			t.Fatalf("%d of %d sessions were restored", n, sessions)
		}
		if err := (restoredFirst{table, bindings}).Activate(); err != nil {
			t.Fatal(err)
		}
		if n := table.Bindings(); n != sessions {
			t.Errorf("%d of %d sessions are shown", n, sessions)
		}
		time.Sleep(10 * time.Second)
		bindings.Checkpoint(time.Now())
		if journal.puts+journal.deletes > 0 {
			t.Errorf("the journal was told of %d sessions and %d ends", journal.puts, journal.deletes)
		}
	})
}
