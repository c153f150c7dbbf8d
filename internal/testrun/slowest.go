package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const (
	// shownSlowest is how many of the slowest tests are shown.
	shownSlowest = 10
	// slow is from how many seconds on a test is worth a line.
	slow = 1
)

// timed is a test and the seconds it ran, without those it waited for its turn.
type timed struct {
	test    string
	seconds float64
}

// printSlowest prints the tests that took longest.
func (r *report) printSlowest() {
	list := r.slowest()
	if len(list) == 0 {
		return
	}
	r.print("the slowest tests:\n")
	for _, t := range list {
		r.print(fmt.Sprintf("  %6.1fs %s\n", t.seconds, t.test))
	}
}

// slowest returns the tests that took longest, slowest first.
func (r *report) slowest() []timed {
	var list []timed
	for id, seconds := range r.times {
		if seconds >= slow && !r.countedAbove(id, seconds) {
			list = append(list, timed{folder(id[0]) + "." + id[1], seconds})
		}
	}
	slices.SortFunc(list, func(a, b timed) int {
		return cmp.Or(cmp.Compare(b.seconds, a.seconds), cmp.Compare(a.test, b.test))
	})
	return list[:min(len(list), shownSlowest)]
}

// countedAbove reports whether a test is part of another whose time has its own
// in it. A part that ran in parallel with others is not: its test had ended.
func (r *report) countedAbove(id [2]string, seconds float64) bool {
	whole, _, isPart := strings.Cut(id[1], "/")
	return isPart && r.times[[2]string{id[0], whole}] >= seconds
}
