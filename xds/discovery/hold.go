package discovery

import (
	"net/netip"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// custody decides what of a source's answers is believed. Pods that come, move
// or change are believed at once, and so is that some have gone. That more than
// half of them went at once, all of them included, is more often a fault of the
// source than the truth: the pods that an answer lacks then stay until the
// source has said so for hold, or an operator believes it.
//
// It is a value, and pure: each method returns what becomes of it.
type custody struct {
	hold time.Duration // 0: everything is believed at once

	accepted []statefulroute.Pod // the last answer that was believed; nil: none was
	served   []statefulroute.Pod // accepted, or the pods of accepted and of the answers since, or what another source said
	newest   []statefulroute.Pod // the last answer
	spoke    bool                // the last reading was an answer, not a failure
	doubted  time.Time           // since when a loss is not believed; zero: none is
}

// loss is what is not believed yet.
type loss struct {
	Kept   int       // pods that are served though the newest answer lacks them
	Of     int       // pods there were before
	Listed int       // pods of the newest answer
	Since  time.Time // when an answer first lacked so many
	Until  time.Time // when it is believed, if the source goes on saying so
}

// answer is what the source said. A further answer that lacks more than half of
// what was accepted, or of what has been served since, goes on with the same
// clock.
func (c custody) answer(now time.Time, pods []statefulroute.Pod) custody {
	c.newest, c.spoke = pods, true
	if c.hold <= 0 || c.accepted == nil || !lost(c.accepted, pods) && !lost(c.served, pods) {
		return c.believe()
	}
	all := union(pods, c.served)
	if len(all) == len(pods) { // they have new names, no more
		return c.believe()
	}
	if c.doubted.IsZero() {
		c.doubted = now
	}
	c.served = all
	return c.at(now)
}

// failed is that the source could not be read. That neither confirms a loss nor
// denies it.
func (c custody) failed() custody {
	c.spoke = false
	return c
}

// at is the passing of time: a loss that was said for so long is believed, if
// the source still says so.
func (c custody) at(now time.Time) custody {
	if c.held() && c.spoke && now.Sub(c.doubted) >= c.hold {
		return c.believe()
	}
	return c
}

// believe takes the newest answer for true.
func (c custody) believe() custody {
	c.accepted, c.served, c.doubted = c.newest, c.newest, time.Time{}
	return c
}

// unserved takes back the lists of an answer that could not be put into force,
// but not the doubt: its clock must run on.
func (c custody) unserved(before custody) custody {
	c.accepted, c.served = before.accepted, before.served
	return c
}

func (c custody) held() bool { return !c.doubted.IsZero() }

// loss describes what is held; ok is false where nothing is.
func (c custody) loss() (l loss, ok bool) {
	if !c.held() {
		return loss{}, false
	}
	return loss{
		Kept: missing(c.served, c.newest), Of: len(c.accepted), Listed: len(c.newest),
		Since: c.doubted, Until: c.doubted.Add(c.hold),
	}, true
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

// union is what an answer lists, and the pods before that it lacks. One whose
// address it gives to another pod is gone, whatever else: what is there now is
// that other pod.
func union(answer, before []statefulroute.Pod) []statefulroute.Pod {
	names, taken := namesOf(answer), make(map[netip.AddrPort]bool, len(answer))
	for _, p := range answer {
		taken[p.Address] = true
	}
	all := slices.Clone(answer)
	for _, p := range before {
		if !names[p.Name] && !taken[p.Address] {
			all = append(all, p)
		}
	}
	return all
}
