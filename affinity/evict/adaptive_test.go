package evict

import (
	"strings"
	"testing"
)

// observe plays windows of rates to a strategy and returns the modes.
func observe(s Strategy, n int, r Rates) (modes string, why []string) {
	for range n {
		mode, w := s.(Adaptive).Observe(r)
		modes += mode[:1]
		if w != "" {
			why = append(why, w)
		}
	}
	return modes, why
}

func TestAdaptiveFollowsTheRatesWithHysteresis(t *testing.T) {
	a := newAdaptive()
	good := Rates{Lookups: 10_000, Hits: 9000, Inserts: 1000}
	steps := []struct {
		name  string
		n     int
		rates Rates
		modes string
		why   string
	}{
		{"few lookups say nothing", 5, Rates{Lookups: 10, Hits: 10}, "rrrrr", ""},
		{"below one half: recency", 3, Rates{Lookups: 10_000, Hits: 4000}, "rrr", ""},
		{"in the band: no change", 5, Rates{Lookups: 10_000, Hits: 5200}, "rrrrr", ""},
		{"above, but nothing expires", 5, Rates{Lookups: 10_000, Hits: 9000, Inserts: 1000, Evicted: 900}, "rrrrr", ""},
		{"above: expiry from the third window on", 5, good, "rreee", "hit rate 0.90"},
		{"in the band: no change", 5, Rates{Lookups: 10_000, Hits: 4800}, "eeeee", ""},
		{"two windows are not enough", 2, Rates{Lookups: 10_000, Hits: 4000}, "ee", ""},
		{"nor after one that differs", 1, good, "e", ""},
		{"below: recency from the third window on", 4, Rates{Lookups: 10_000, Hits: 4000}, "eerr", "hit rate 0.40"},
		{"above: expiry again", 3, good, "rre", "hit rate 0.90"},
		{"it breaks too many: recency at once", 1, Rates{Lookups: 10_000, Hits: 9000, Broken: 300}, "r", "broken rate 0.03"},
		{"and recency is held", firstHold + 3, good, strings.Repeat("r", firstHold+2) + "e", "hit rate 0.90"},
		{"fails again", 1, Rates{Lookups: 10_000, Hits: 9000, Broken: 300}, "r", "broken rate 0.03"},
		{"held twice as long", 2*firstHold + 3, good, strings.Repeat("r", 2*firstHold+2) + "e", "hit rate 0.90"},
	}
	for _, s := range steps {
		modes, why := observe(a, s.n, s.rates)
		if modes != s.modes || len(why) > 1 || !strings.Contains(strings.Join(why, ""), s.why) || (s.why == "") != (len(why) == 0) {
			t.Fatalf("%s: %s %q, want %s %q", s.name, modes, why, s.modes, s.why)
		}
	}
}
