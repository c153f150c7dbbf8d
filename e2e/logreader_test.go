package e2e

import (
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// Nobody reads what the two servers log, and their pipes are full: every request
// is answered, no session moves but those of a pod that is gone, and both end
// when they are told to.
func TestALogThatNobodyReadsHoldsNoRequestUp(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{})
	keys := harness.Keys(300)
	before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
	for _, p := range []*harness.Process{s.XDS, s.Extproc} {
		p.Stop(t)
		p.StartUnread(t)
	}
	s.WaitReady(t)
	// Each of these sessions has a line in extproc's log, which is far more than
	// the pipe takes.
	s.Change(t, removePod("chat-1"))
	lost := harness.On(before, "chat-1")
	if len(lost) < 50 {
		t.Fatalf("the removed pod had %d sessions", len(lost))
	}
	after := s.Load(keys, 4, 8, harness.InHeader).Owners(t)
	for _, key := range lost {
		delete(before, key)
	}
	harness.SameOwners(t, before, after)
	for _, p := range []*harness.Process{s.Extproc, s.XDS} {
		p.Stop(t)
		if code := p.ExitCode(); code != 0 {
			t.Errorf("%s ended with code %d", p.Name, code)
		}
	}
}
