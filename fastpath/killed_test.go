package fastpath_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/fastpathtest"
)

// killedPath is in the environment of a process that writes a table until it is killed.
const killedPath = "FASTPATH_KILLED_PATH"

// TestProcessThatWrites is that process.
func TestProcessThatWrites(t *testing.T) {
	path := os.Getenv(killedPath)
	if path == "" {
		return // there is nothing to test here
	}
	h := &hunt{table: create(t, fastpath.Options{Path: path, Capacity: huntSessions})}
	activate(t, h.table)
	h.write()
}

// A writer may be killed at any instant: what it has left is right or takes the callout, of
// few sessions for good, and the next writer's table takes its place.
func TestAWriterThatIsKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table")
	hits, busy := 0, 0
	for round := range 10 {
		r := killed(t, path, 50+37*round)
		for i := range huntSessions {
			switch a := r.Lookup("chat", huntKey(i)); {
			case a.Result == "hit" && (a.Pod == huntPod(i, 0) || a.Pod == huntPod(i, 1)) && a.Address == addresses[a.Pod].String():
				hits++
			case a.Result == "busy":
				busy++
			case a.Result != "unknown":
				t.Errorf("session %d: %+v", i, a)
			}
		}
		wantLive(t, r, true)
	}
	t.Logf("%d hits, %d busy", hits, busy)
	if hits < huntSessions || busy > 10*huntSessions/20 {
		t.Errorf("%d hits, %d busy", hits, busy)
	}
	left := open(t, path, fastpath.Monotonic)
	activate(t, create(t, fastpath.Options{Path: path}))
	wantLive(t, left, false)
}

// killed has a process write a table of its own, kills it after so many reads that found a
// session, and returns a reader of what it left.
func killed(t *testing.T, path string, reads int) *fastpathtest.Reader {
	t.Helper()
	before, _ := os.Stat(path)
	writer := exec.Command(os.Args[0], "-test.run=^TestProcessThatWrites$")
	writer.Env = append(os.Environ(), killedPath+"="+path)
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- writer.Wait() }()
	for {
		select {
		case err := <-ended:
			t.Fatalf("the writer ended: %v", err)
		default:
		}
		if now, err := os.Stat(path); err == nil && (before == nil || !os.SameFile(before, now)) {
			break
		}
	}
	r := open(t, path, fastpath.Monotonic)
	for n := 0; n < reads; {
		if r.Lookup("chat", huntKey(n%huntSessions)).Result == "hit" {
			n++
		}
	}
	writer.Process.Kill()
	<-ended
	return r
}
