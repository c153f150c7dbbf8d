package affinity

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
)

// pieces returns n keys of size bytes, each a piece of a string of whole bytes, as a
// session key is one of a Cookie header.
func pieces(n, size, whole int) []string {
	out := make([]string, n)
	for i := range out {
		header := fmt.Sprintf("%0*d", size, i) + strings.Repeat("x", whole-size)
		out[i] = header[:size]
	}
	return out
}

// Whatever the table keeps of a call are copies: of what the caller's strings are
// pieces of, nothing may stay in memory.
func TestTheTableKeepsNoPieceOfARequest(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is counted too")
	}
	const n, whole, most = 2000, 16 << 10, 2000
	ways := map[string]func(c *Table, key string){
		"Claim": func(c *Table, key string) { c.Claim("chat", key, "a", t0) },
		"Claim, then Lookup": func(c *Table, key string) {
			c.Claim("chat", key, "a", t0)
			c.Lookup("chat", key, t0)
		},
		"Move":   func(c *Table, key string) { c.Move("chat", key, "a", t0) },
		"Rebind": func(c *Table, key string) { c.Claim("chat", key, "a", t0); c.Rebind(to("chat", key, "a"), "b", t0) },
		"Restore": func(c *Table, key string) {
			c.Restore([]statefulroute.Binding{{Service: "chat", Key: key, Pod: "a", PreviousPod: "b", LastSeen: t0}}, t0)
		},
		"evicted and refused": func(c *Table, key string) {
			c.Claim("chat", "other"+key[5:], "a", t0)
			c.Claim("chat", key, "a", t0)
		},
		"names of pods": func(c *Table, key string) {
			c.Claim("chat", key, key, t0)
			c.Move("chat", key, key[1:], t0)
		},
		"names of services": func(c *Table, key string) {
			if strings.HasSuffix(key, "00") { // their names are few
				c.Claim(key, key, "a", t0)
			}
		},
	}
	for name, keep := range ways {
		for _, size := range []int{43, 44, 100} { // in the entry, or beside it
			journal := book{}
			c := newTable(t, Options{Capacity: n, Shards: 1, Journal: journal})
			before := heap()
			for _, key := range pieces(n, size, whole) {
				keep(c, key)
			}
			if per := float64(int64(heap())-int64(before)) / n; per > most {
				t.Errorf("%s, %d of %d bytes: %.0f B a binding, want at most %d", name, size, whole, per, most)
			}
			runtime.KeepAlive(c)
			runtime.KeepAlive(journal)
		}
	}
}
