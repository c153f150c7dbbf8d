package affinity

import (
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/affinity/evict"
)

// FuzzKeys binds whatever bytes a client may send as a key, and its neighbours.
func FuzzKeys(f *testing.F) {
	f.Add("chat", "k", "k\x00", uint8(0))
	f.Add("", "", "\xff\xfe", uint8(1))
	f.Add("a\x00b", "c", "b\x00c", uint8(2))
	f.Fuzz(func(t *testing.T, service, one, two string, strategy uint8) {
		names := evict.NewRegistry().Names()
		c := newTable(t, Options{Strategy: names[int(strategy)%len(names)], Capacity: 8, Shards: 2})
		claim(t, c, service, one, "pod-1", t0)
		if one != two {
			claim(t, c, service, two, "pod-2", t0)
		}
		claim(t, c, service+"x", one, "pod-3", t0)
		for key, pod := range map[string]string{two: "pod-2", one: "pod-1"} {
			b, ok := c.Lookup(service, key, t0)
			if !ok || b.Service != service || b.Key != key || b.Pod != pod && one != two {
				t.Fatalf("Lookup(%q, %q) = %+v, %v", service, key, b, ok)
			}
		}
		if bs, next := c.List(service, "pod-1", 1, ""); len(bs) != 1 || bs[0].Key != one || next != "" {
			t.Fatalf("List = %+v, %q", bs, next)
		}
		if !c.Delete(service, one) || c.Delete(service, one) {
			t.Fatalf("Delete(%q) did not work exactly once", one)
		}
		c.Expire(t0.Add(time.Hour))
		if st := checkIdentity(t, c); st.Size != 0 {
			t.Fatalf("%+v", st)
		}
	})
}
