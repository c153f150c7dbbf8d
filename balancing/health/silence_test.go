package health_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/balancing/health"
	"github.com/stateful-route/stateful-route/balancing/weight"
)

// A second's report of a pod, and the answers that extprocs saw begin in it.
type second struct {
	weight.Observation
	answers uint64
}

func TestSilence(t *testing.T) {
	hung := weight.Observation{Issued: 5, Failed: 2, InProgress: 3}
	for _, c := range []struct {
		name string
		at   func(i int) second
		want string // the seconds of the doubts
	}{
		{"answers nothing", func(int) second { return second{hung, 0} }, "[9 19 29]"},
		{"answers now and then", func(i int) second {
			if i%7 == 0 {
				return second{weight.Observation{Issued: 5, Succeeded: 1, InProgress: 3}, 0}
			}
			return second{hung, 0}
		}, "[]"},
		{"fails everything", func(int) second { return second{weight.Observation{Issued: 5, Failed: 5}, 0} }, "[9 19 29]"},
		{"refuses connections", func(int) second { return second{weight.Observation{Failed: 5}, 0} }, "[9 19 29]"},
		{"is asked nothing", func(int) second { return second{} }, "[]"},
		{"hangs with all its clients waiting", func(i int) second {
			if i == 0 {
				return second{weight.Observation{Issued: 50, Succeeded: 40, InProgress: 10}, 0}
			}
			return second{weight.Observation{InProgress: 10}, 0}
		}, "[10 20 30]"},
		{"has answered websockets open", func(i int) second {
			if i == 0 {
				return second{weight.Observation{Issued: 5, Succeeded: 5, InProgress: 5}, 0}
			}
			return second{weight.Observation{InProgress: 5}, 0}
		}, "[]"},
		{"has gRPC streams open that extproc saw begin", func(i int) second {
			if i == 0 {
				return second{weight.Observation{Issued: 5, InProgress: 5}, 5}
			}
			return second{weight.Observation{InProgress: 5}, 0}
		}, "[]"},
		{"the same, and extproc reports a second earlier", func(i int) second {
			switch i {
			case 0:
				return second{weight.Observation{}, 5}
			case 1:
				return second{weight.Observation{Issued: 5, InProgress: 5}, 0}
			}
			return second{weight.Observation{InProgress: 5}, 0}
		}, "[]"},
		{"the same, and extproc reports a second later", func(i int) second {
			switch i {
			case 0:
				return second{weight.Observation{Issued: 5, InProgress: 5}, 0}
			case 1:
				return second{weight.Observation{InProgress: 5}, 5}
			}
			return second{weight.Observation{InProgress: 5}, 0}
		}, "[]"},
		{"hangs with answered streams and a waiting client", func(i int) second {
			switch i {
			case 0:
				return second{weight.Observation{Issued: 5, Succeeded: 5, InProgress: 5}, 5}
			case 3:
				return second{weight.Observation{Issued: 1, InProgress: 6}, 0}
			case 1, 2:
				return second{weight.Observation{InProgress: 5}, 0}
			}
			return second{weight.Observation{InProgress: 6}, 0}
		}, "[12 22 32]"},
		{"hangs and is asked every four seconds", func(i int) second {
			switch i % 4 {
			case 0:
				return second{weight.Observation{Issued: 1, InProgress: 1}, 0}
			case 1:
				return second{weight.Observation{Failed: 1}, 0}
			}
			return second{}
		}, "[9 20 32]"},
		{"hangs, and its clients give up within the second", func(i int) second {
			if i%4 == 0 {
				return second{weight.Observation{Issued: 1}, 0}
			}
			return second{}
		}, "[12 24]"},
		{"was left unanswered twice, long ago and now", func(i int) second {
			if i == 0 || i == 30 {
				return second{weight.Observation{Issued: 1}, 0}
			}
			return second{}
		}, "[]"},
	} {
		s, err := health.NewSilence(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		doubts := []int{}
		for i := range 33 {
			r := c.at(i)
			r.Interval = time.Second
			s.Observe(t0.Add(time.Duration(i)*time.Second), "pod", r.Observation, r.answers)
			for range s.Doubts() {
				doubts = append(doubts, i)
			}
		}
		if got := fmt.Sprint(doubts); got != c.want {
			t.Errorf("a pod that %s is doubted at %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSilenceForgetsAPodAndRefusesNoWindow(t *testing.T) {
	s, err := health.NewSilence(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		s.Observe(t0.Add(time.Duration(i)*time.Second), "gone", weight.Observation{Issued: 1, Interval: time.Second}, 0)
		if i == 5 {
			s.Forget("gone")
		}
		if d := s.Doubts(); len(d) > 0 {
			t.Errorf("doubts %v at %d s", d, i)
		}
	}
	if _, err := health.NewSilence(0); err == nil {
		t.Error("NewSilence(0) = nil error")
	}
}
