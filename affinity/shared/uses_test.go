package shared

import (
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

func used(pod string, epoch uint64) statefulroute.Binding {
	return statefulroute.Binding{Service: "chat", Key: "alice", Pod: pod, Epoch: epoch}
}

var alice = sessionName{"chat", "alice"}

// What could not be written is tried again, but for a session that has ended meanwhile: where
// the store has lost its data it would come to life again.
func TestASessionThatEndsWhileItsUseIsWrittenIsNotWrittenAgain(t *testing.T) {
	var u Uses
	u.add(use{binding: used("chat-0", 7)})
	taken := u.take()
	u.revoke("chat", "alice")
	u.addAgain(taken)
	if again := u.take(); len(again) > 0 {
		t.Errorf("written again: %+v", again)
	}
	u.add(use{binding: used("chat-0", 7), unasked: true, putBack: true})
	taken = u.take()
	u.revoke("chat", "alice")
	u.addAgain(taken)
	if again := u.take()[alice]; again.putBack || !again.revoked || !again.overtaken {
		t.Errorf("the store is to be asked about it, and not to take it: %+v", again)
	}
}

// A session counts as a conflict if requests may have gone elsewhere than the store says when
// it is asked.
func TestWhatMayHaveGoneElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		use       use
		meanwhile func(*Uses)
		said      statefulroute.Binding
		want      bool
	}{
		"the store says the same":     {use: use{binding: used("chat-0", 7), unasked: true}, said: used("chat-0", 7)},
		"nobody was unasked":          {use: use{binding: used("chat-0", 7)}, said: used("chat-1", 8)},
		"it is elsewhere":             {use: use{binding: used("chat-0", 7), unasked: true}, said: used("chat-1", 8), want: true},
		"it was elsewhere meanwhile":  {use: use{binding: used("chat-0", 7), unasked: true}, said: used("chat-0", 9), want: true},
		"a new one, on the same pod":  {use: use{binding: used("chat-0", provisional), unasked: true}, said: used("chat-0", 9)},
		"a new one that is elsewhere": {use: use{binding: used("chat-0", provisional), unasked: true}, said: used("chat-1", 9), want: true},
		"it was moved while it was asked": {
			use:       use{binding: used("chat-0", provisional), unasked: true},
			meanwhile: func(u *Uses) { u.revoke("chat", "alice") },
			said:      used("chat-0", 9), want: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var u Uses
			u.add(c.use)
			u.take()
			if c.meanwhile != nil {
				c.meanwhile(&u)
			}
			if got := u.wasElsewhere(&Use{Binding: c.use.binding, Unasked: c.use.unasked}, &c.said); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
	var u Uses
	u.add(use{binding: used("chat-0", provisional), unasked: true})
	u.add(use{binding: used("chat-1", provisional), unasked: true})
	if !u.take()[alice].overtaken {
		t.Error("a session that was sent to two pods was elsewhere once")
	}
}

// What another replica ends is forgotten, though this one lacks what the log said of it.
func TestRevokeAllKeepsWhatIsToBeAsked(t *testing.T) {
	var u Uses
	u.add(use{binding: used("chat-0", 7), unasked: true, putBack: true})
	u.add(use{binding: statefulroute.Binding{Service: "chat", Key: "bob", LastSeen: time.Now()}})
	u.revokeAll()
	left := u.take()
	if len(left) != 1 || left[alice].putBack || !left[alice].overtaken {
		t.Errorf("left: %+v", left)
	}
}
