package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// podsFile is the file that names the pods of a stack's first service.
type podsFile struct {
	stack *harness.Stack
	path  string
	pods  []harness.Pod
}

// toFile moves the first service's list to a file, and has xds-server keep its
// state.
func toFile(t *testing.T, s *harness.Stack) *podsFile {
	t.Helper()
	dir := t.TempDir()
	f := &podsFile{stack: s, path: filepath.Join(dir, "pods.yaml")}
	s.Change(t, func(c *harness.Config) {
		f.pods = c.Services[0].Pods.Static
		f.replace(t, harness.PodsText(f.pods))
		c.Services[0].Pods.File, c.State = f.path, filepath.Join(dir, "state.db")
	})
	s.XDS.Stop(t) // the state file is opened at a start
	s.XDS.Start(t)
	s.WaitReady(t)
	s.WaitClients(t)
	return f
}

// replace writes the file in one step.
func (f *podsFile) replace(t *testing.T, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(f.path+".new", []byte(text), 0o600), os.Rename(f.path+".new", f.path)); err != nil {
		t.Fatal(err)
	}
}

// write writes the file in place, as an editor in a hurry does: it is empty at
// first, and grows line by line.
func (f *podsFile) write(t *testing.T, text string) {
	t.Helper()
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for line := range strings.Lines(text) {
		<-tick.C
		if _, err := file.WriteString(line); err != nil {
			t.Fatal(err)
		}
	}
}

// await waits until the source is in the state.
func (f *podsFile) await(t *testing.T, state string) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "the pods file is "+state, func() error {
		var services []struct {
			Source struct {
				State string `json:"state"`
			} `json:"source"`
		}
		if err := harness.JSON(f.stack.XDSAdmin+"/api/v1/services", &services); err != nil {
			return err
		}
		if got := services[0].Source.State; got != state {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// A pods file is emptied, cut, written slowly and lost, and xds-server started
// without it: no request fails and no session moves. An operator who means it
// says so.
func TestAPodsFileThatFailsMovesNobody(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{harness.Chat(4)}})
	f := toFile(t, s)
	keys := harness.Keys(60)
	before := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
	traffic := s.Traffic(t, keys, 200*time.Millisecond)
	whole := harness.PodsText(f.pods)
	for _, harm := range []struct{ text, state string }{
		{"null\n", "stale"}, {"[]\n", "held"}, {"", "stale"}, {harness.PodsText(f.pods[:1]), "held"}, {whole[:len(whole)/2-7], "stale"},
	} {
		f.replace(t, harm.text)
		f.await(t, harm.state)
		traffic.Round(t)
		f.replace(t, whole)
		f.await(t, "good")
	}
	f.write(t, whole)
	traffic.Round(t)
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	f.await(t, "stale")
	s.XDS.Stop(t)
	s.XDS.Start(t)
	s.WaitReady(t)
	s.WaitClients(t)
	f.await(t, "stale")
	traffic.Round(t)
	histories := traffic.Stop()
	harness.NoFailures(t, histories)
	harness.MaxPods(t, histories, 1)
	harness.SameOwners(t, before, s.Load(keys, 1, 8, harness.InHeader).Owners(t))

	f.replace(t, harness.PodsText(f.pods[:1]))
	f.await(t, "held")
	accept := s.Routectl(t, "pods", "accept", "chat")
	if code := accept.ExitCode(); code != 0 {
		t.Errorf("accept: exit code %d, %s", code, accept.Log(t))
	}
	f.await(t, "good")
	s.WaitClients(t) // extproc knows it, too
	for key, pod := range s.Load(keys, 1, 8, harness.InHeader).Owners(t) {
		if pod != f.pods[0].Name {
			t.Errorf("session %s is on %s, which an operator gave up", key, pod)
		}
	}
}
