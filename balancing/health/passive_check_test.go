package health_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/balancing/health"
)

func TestPassiveCheck(t *testing.T) {
	type second struct{ sent, answered uint64 }
	first := func(s second) func(int) second {
		return func(i int) second {
			if i == 0 {
				return s
			}
			return second{}
		}
	}
	for _, c := range []struct {
		name string
		at   func(i int) second
		want string // the seconds at which it is suspect
	}{
		{"answers nothing", func(int) second { return second{5, 0} }, "[10 21 32]"},
		{"answers now and then", func(i int) second {
			if i%7 == 0 {
				return second{5, 1}
			}
			return second{5, 0}
		}, "[]"},
		{"is busy and answers, if later than it is asked", func(int) second { return second{500, 498} }, "[]"},
		{"is asked nothing", func(int) second { return second{} }, "[]"},
		{"has answered streams open", first(second{5, 5}), "[]"},
		{"hangs with all its clients waiting", first(second{50, 40}), "[10]"},
		{"answers in the next second", func(i int) second {
			return []second{{5, 0}, {0, 5}, {}}[min(i, 2)]
		}, "[]"},
		{"answers after a part of the window", func(i int) second {
			return []second{{5, 0}, {}, {}, {}, {}, {}, {0, 5}, {}}[min(i, 7)]
		}, "[]"},
		{"hangs and is asked every four seconds", func(i int) second {
			if i%4 == 0 {
				return second{1, 0}
			}
			return second{}
		}, "[10 22]"},
		{"was left unanswered once", first(second{1, 0}), "[10]"},
	} {
		check := health.NewPassiveCheck(10 * time.Second)
		suspect := []int{}
		for i := range 33 {
			if r := c.at(i); check.Observe(t0.Add(time.Duration(i)*time.Second), "pod", r.sent, r.answered) {
				suspect = append(suspect, i)
			}
		}
		if got := fmt.Sprint(suspect); got != c.want {
			t.Errorf("a pod that %s is suspect at %s, want %s", c.name, got, c.want)
		}
	}
}

func TestPassiveCheckForgetsAPod(t *testing.T) {
	check := health.NewPassiveCheck(10 * time.Second)
	for i := range 15 {
		if check.Observe(t0.Add(time.Duration(i)*time.Second), "gone", 1, 0) {
			t.Errorf("suspect at %d s", i)
		}
		if i == 5 {
			check.Forget("gone")
		}
	}
}
