package discovery

import (
	"net/netip"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// hold decides what of a source's lists is believed. Pods that come, move or change
// are believed at once, and so is that some have gone. That more than half of them
// went at once, all of them included, is more often a fault of the source than the
// truth: the pods that a list lacks then stay until the source has said so for the
// period, or an operator accepts it. Of lists that are partial nothing is believed to
// be gone at once: each pod has a clock of its own, for the next list may lack another,
// and stays until a list lacks it after the period.
//
// It is a value, and pure: each method returns what becomes of it. At every time
// served ⊇ latest, and served = latest unless a loss is held or the list in force is
// another source's.
type hold struct {
	period time.Duration // 0: everything is believed at once

	accepted []statefulroute.Pod // the last list that was believed; nil: none was
	served   []statefulroute.Pod // accepted, or the pods of accepted and of the lists since, or what another source said
	latest   []statefulroute.Pod // the last list
	current  bool                // the last reading was a list, not a failure
	since    time.Time           // since when a loss is not believed; zero: none is

	partial bool                 // the last list was
	absent  map[string]time.Time // since when partial lists have lacked a pod, by name; never changed in place
}

// list is what the source said. A further list that lacks more than half of what was
// accepted, or of what has been served since, goes on with the same clock.
func (h hold) list(now time.Time, pods []statefulroute.Pod) hold {
	h.latest, h.current, h.partial, h.absent = pods, true, false, nil
	if h.period <= 0 || h.accepted == nil || !lost(h.accepted, pods) && !lost(h.served, pods) {
		return h.accept()
	}
	all := union(pods, h.served)
	if len(all) == len(pods) { // they have new names, no more
		return h.accept()
	}
	if h.since.IsZero() {
		h.since = now
	}
	h.served = all
	return h.at(now)
}

// part is what a source said whose lists may lack pods.
func (h hold) part(now time.Time, pods []statefulroute.Pod) hold {
	h.latest, h.current, h.partial = pods, true, true
	if h.period <= 0 || h.accepted == nil {
		return h.accept()
	}
	h.served = union(pods, h.served)
	absent := map[string]time.Time{}
	for _, p := range h.served[len(pods):] {
		absent[p.Name] = now
		if since, ok := h.absent[p.Name]; ok {
			absent[p.Name] = since
		}
	}
	h.absent = absent
	return h.after(now)
}

// after leaves out the pods that partial lists have lacked for the period. What is
// left is what is accepted, in the order of the addresses: the same pods are the same
// list, whichever of them are lacking at the moment.
func (h hold) after(now time.Time) hold {
	served := slices.Clone(h.latest)
	h.since = time.Time{}
	for _, p := range union(h.latest, h.served)[len(h.latest):] {
		since := h.absent[p.Name]
		if now.Sub(since) >= h.period {
			continue
		}
		served = append(served, p)
		if h.since.IsZero() || since.Before(h.since) {
			h.since = since
		}
	}
	slices.SortFunc(served, func(a, b statefulroute.Pod) int { return a.Address.Compare(b.Address) })
	h.accepted, h.served = served, served
	return h
}

// failed is that the source could not be read. That neither confirms a loss nor
// denies it.
func (h hold) failed() hold {
	h.current = false
	return h
}

// at is the passing of time: a loss that was said for so long is believed, if
// the source still says so.
func (h hold) at(now time.Time) hold {
	if ripe, ok := h.ripens(); !ok || now.Before(ripe) {
		return h
	}
	return h.accept()
}

// ripens is when a loss is believed though the source says no more. That a partial list
// lacks a pod is believed only of one that says so after the period: it may be the
// first since, and one list proves nothing.
func (h hold) ripens() (time.Time, bool) {
	return h.since.Add(h.period), h.held() && h.current && !h.partial
}

// accept takes the latest list for true.
func (h hold) accept() hold {
	h.accepted, h.served, h.since, h.absent = h.latest, h.latest, time.Time{}, nil
	return h
}

// refused takes back a list that could not be put into force, but not that a loss is
// held: its clock must run on.
func (h hold) refused(before hold) hold {
	h.accepted, h.served = before.accepted, before.served
	return h
}

func (h hold) held() bool { return !h.since.IsZero() }

// doubtful reports whether so much is held that somebody should look at the source:
// that a pod or two of a partial list are kept is an everyday event.
func (h hold) doubtful() bool {
	return h.held() && (lost(h.accepted, h.latest) || lost(h.served, h.latest))
}

// loss describes what is held; nil where nothing is.
func (h hold) loss() *Loss {
	if !h.held() {
		return nil
	}
	return &Loss{
		Kept: missing(h.served, h.latest), Of: len(h.accepted), Listed: len(h.latest),
		Since: h.since, Until: h.since.Add(h.period),
	}
}

// lost reports whether now lacks more than half of the pods before.
func lost(before, now []statefulroute.Pod) bool {
	return 2*missing(before, now) > len(before)
}

// missing counts the pods before that now lacks.
func missing(before, now []statefulroute.Pod) int {
	names := namesOf(now)
	n := 0
	for _, p := range before {
		if !names[p.Name] {
			n++
		}
	}
	return n
}

func namesOf(pods []statefulroute.Pod) map[string]bool {
	names := make(map[string]bool, len(pods))
	for _, p := range pods {
		names[p.Name] = true
	}
	return names
}

// union is what a list has, and the pods before that it lacks. A pod before whose
// address the list gives to another pod is gone, whatever else: what is there now is
// that other pod.
func union(list, before []statefulroute.Pod) []statefulroute.Pod {
	names, taken := namesOf(list), make(map[netip.AddrPort]bool, len(list))
	for _, p := range list {
		taken[p.Address] = true
	}
	all := slices.Clone(list)
	for _, p := range before {
		if !names[p.Name] && !taken[p.Address] {
			all = append(all, p)
		}
	}
	return all
}
