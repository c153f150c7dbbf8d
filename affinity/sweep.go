package affinity

import "time"

// Expire removes the bindings that have been idle for too long, lets an
// adaptive strategy look at the rates since the last call, and returns how many
// it removed. It never holds a lock for more than a few hundred entries.
func (t *Table) Expire(now time.Time) (n int) {
	at := t.nanos(now)
	for i := range t.shards {
		sh := &t.shards[i]
		sh.eachEntry(func(e *entry) {
			if sh.expiredLocked(e, at) {
				sh.removeLocked(e, &sh.counts.expired)
				n++
			}
		})
		sh.sweepGhosts(at)
	}
	t.tuner.observe(t.Stats(), t.options.OnSwitch)
	return n
}

// sweepGhosts forgets ghosts before their ages begin anew, a few under each hold of the
// lock.
func (sh *shard) sweepGhosts(now int64) {
	sh.mu.Lock()
	left := sh.ghosts.due(now)
	sh.mu.Unlock()
	for ; left > 0; left -= ghostsStep {
		sh.mu.Lock()
		sh.ghosts.sweep(min(left, ghostsStep), now)
		sh.mu.Unlock()
	}
}

// DropPod forgets every binding to a pod and returns how many there were. It
// costs as much as the pod has bindings.
func (t *Table) DropPod(service, pod string) int {
	s := t.services.get(service)
	if s == nil || pod == "" {
		return 0
	}
	n := t.deleteAll(s, pod)
	t.numbers.retire(podName{s, pod})
	return n
}

// Flush forgets every binding of a service, or of all with "", and returns how
// many there were.
func (t *Table) Flush(service string) (n int) {
	if service == "" {
		for i := range t.shards {
			sh := &t.shards[i]
			sh.eachEntry(func(e *entry) {
				sh.removeLocked(e, &sh.counts.deleted)
				n++
			})
		}
		t.numbers.retire(podName{})
		return n
	}
	s := t.services.get(service)
	if s == nil {
		return 0
	}
	for _, pod := range s.podNames() {
		n += t.deleteAll(s, pod)
	}
	t.numbers.retire(podName{s, ""})
	return n
}

// deleteAll removes the bindings of a pod.
func (t *Table) deleteAll(s *service, pod string) (n int) {
	for i := range t.shards {
		sh := &t.shards[i]
		if g := sh.group(s, pod); g != nil {
			sh.walk(g, func(e *entry) {
				sh.removeLocked(e, &sh.counts.deleted)
				n++
			})
		}
	}
	return n
}

// group returns the shard's group of a pod, nil if it has none.
func (sh *shard) group(s *service, pod string) *group {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.groups[groupKey{s, pod}]
}
