package main

import (
	"path"
	"strings"
)

// exception is a test that continuous integration may skip.
type exception struct {
	test string // FOLDER.TEST, a pattern of path.Match
	race bool   // only under the race detector
	why  string
}

// exceptions is to stay short: what is skipped proves nothing.
func exceptions() []exception {
	return []exception{
		{test: "e2e.TestMemoryNearItsLimitIsFound", why: "needs a control group of its own, which most containers may not make"},
		{test: "e2e.TestPodsByDNSAreAskedForAsTheSystemSays", why: "needs port 53 and a mount namespace of its own, which most containers may not have"},
		{test: "affinity/store.TestADiskThatFillsUpAndGoes", why: "needs to mount a file system, which most containers may not"},
		{test: "bench/sim/*", race: true, why: "a simulation is one goroutine: there is nothing to find, and it takes minutes"},
		{test: "balancing.TestPicksAllocateNothing", race: true, why: "sync.Pool drops at random under the race detector"},
	}
}

// allowed reports whether a test of a folder, or a part of it, may be skipped.
func allowed(folder, test string, race bool) bool {
	test, _, _ = strings.Cut(test, "/")
	for _, e := range exceptions() {
		if matched, err := path.Match(e.test, folder+"."+test); err == nil && matched && (race || !e.race) {
			return true
		}
	}
	return false
}
