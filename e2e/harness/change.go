package harness

import (
	"slices"
	"testing"
)

// Change edits xds-server's configuration while everything runs, starts demo
// pods for those that are new, and returns when Envoy has the pods it says.
// Pods that were removed keep running: Envoy must leave them by itself.
func (s *Stack) Change(t testing.TB, edit func(*Config)) {
	t.Helper()
	s.Edit(t, edit)
	s.WaitPods(t)
}

// Edit is Change that does not wait, as where xds-server does not run.
func (s *Stack) Edit(t testing.TB, edit func(*Config)) {
	t.Helper()
	edit(&s.config)
	s.startPods(t)
	s.config.write(t, s.configFile)
}

// RemovePod returns the list without the pod.
func RemovePod(pods []Pod, name string) []Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p Pod) bool { return p.Name == name })
}

// WaitPods returns when Envoy's clusters have exactly the configured pods.
func (s *Stack) WaitPods(t testing.TB) {
	t.Helper()
	Eventually(t, Patience, "Envoy has the configured pods", s.hasPods)
}

// Misbehave tells a demo pod to be slow or failing, or well again; see the
// /control of cmd/demo-pod.
func (s *Stack) Misbehave(t testing.TB, pod, control string) {
	t.Helper()
	if _, err := Call("POST", "http://"+s.PodAddress(t, pod)+"/control", control); err != nil {
		t.Fatal(err)
	}
}
