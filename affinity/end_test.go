package affinity

import "testing"

// End forgets the binding to one pod, also one that was evicted, and no other.
func TestEnd(t *testing.T) {
	c := newTable(t, Options{Capacity: 1, Shards: 1, Strategy: "lru"})
	claim(t, c, "chat", "a", "chat-0", t0)
	if c.End(to("chat", "a", "chat-1"), t0) || c.End(to("chat", "b", "chat-0"), t0) || c.End(to("made-up", "a", "chat-0"), t0) {
		t.Error("ended what is not there")
	}
	claim(t, c, "chat", "b", "chat-0", t0) // evicts a
	if pod, ok := c.Remembered("chat", "a", t0); !ok || pod != "chat-0" {
		t.Fatalf("a is not remembered: %q", pod)
	}
	if c.End(to("chat", "a", "chat-1"), t0) || !c.End(to("chat", "a", "chat-0"), t0) || c.End(to("chat", "a", "chat-0"), t0) {
		t.Error("an evicted session does not end on its pod exactly once")
	}
	if !c.End(to("chat", "b", "chat-0"), t0) || c.End(to("chat", "b", "chat-0"), t0) {
		t.Error("a session does not end on its pod exactly once")
	}
	if _, ok := c.Lookup("chat", "b", t0); ok || c.Stats().Deletes != 1 || c.PodSessions("chat", "chat-0") != 0 {
		t.Errorf("after all ends: %+v", c.Stats())
	}
}
