package main

import (
	"slices"
	"testing"
)

func TestPodOf(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int{"pod-0": 0, "pod-7": 7, "pod-999": 999, "pod-9999": 9999} {
		if n, ok := podOf([]byte(body)); n != want || !ok {
			t.Errorf("%s: %d, %v", body, n, ok)
		}
	}
	for _, body := range []string{"", "pod-", "pod-x", "pod-1x", "pod--1", "pod-10000", "pod-99999999999999999999", "a pod-1"} {
		if n, ok := podOf([]byte(body)); ok {
			t.Errorf("%q is of pod %d", body, n)
		}
	}
}

// Each of many pods has an address of its own.
func TestPodAddresses(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 1000, maxPods} {
		all, err := podAddresses(n)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		if len(slices.Compact(all)) != n {
			t.Errorf("%d addresses of %d pods", len(slices.Compact(all)), n)
		}
	}
}

// Of many pods each can be the one that a session belongs to.
func TestOwnersAmongMany(t *testing.T) {
	t.Parallel()
	o := newOwners(1)
	last := maxPods - 1
	if o.wrong(0, o.before(0), last) || !o.wrong(0, o.before(0), last-1) {
		t.Error("the first answer does not decide")
	}
	to, done, ok := o.move(0, maxPods)
	if to != 0 || !ok || o.wrong(0, o.before(0), last) || o.wrong(0, o.before(0), 0) {
		t.Errorf("while it moves to %d, %v, neither is right", to, ok)
	}
	if done(); !o.wrong(0, o.before(0), last) || o.wrong(0, o.before(0), 0) {
		t.Error("it was not moved")
	}
}
