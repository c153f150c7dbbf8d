package affinity

// group is the entries of one pod of one service in one shard, in no order.
// It makes dropping and listing a pod's sessions cost what the pod has, and finding
// one that was used only once nothing that grows.
type group struct {
	service *service
	pod     *pod
	members [2][]uint32 // slots, of the entries with onceFlag and of the others
	number  uint32      // in slab.groups
}

// The lists of a group.
const (
	usedOnce = iota
	usedMore
)

type groupKey struct {
	service *service
	pod     string
}

func (g *group) size() int { return len(g.members[usedOnce]) + len(g.members[usedMore]) }

// of is the list that an entry is in.
func (g *group) of(e *entry) *[]uint32 {
	if e.seat&onceFlag != 0 {
		return &g.members[usedOnce]
	}
	return &g.members[usedMore]
}

func (g *group) add(e *entry, slot uint32) {
	members := g.of(e)
	e.Group = g.number
	e.setIndex(len(*members))
	*members = append(*members, slot)
}

// remove fills the gap with the last member, so a walk from the last index to
// the first, interrupted at will, meets every member that stays.
func (g *group) remove(e *entry, sl *slab) {
	members := g.of(e)
	last := len(*members) - 1
	moved := (*members)[last]
	(*members)[e.index()] = moved
	sl.at(moved).setIndex(e.index())
	*members = (*members)[:last]
	e.Group = 0
	if size := cap(*members); size > 64 && last < size/4 {
		*members = append(make([]uint32, 0, size/2), *members...)
	}
}

// relocate replaces old slots by the new ones.
func (g *group) relocate(slots []uint32) {
	for _, members := range g.members {
		for i, slot := range members {
			members[i] = slots[slot]
		}
	}
}

// joinLocked puts e into the group of the pod, making one if there is none.
func (sh *shard) joinLocked(e *entry, slot uint32, s *service, podName string) {
	k := groupKey{s, podName}
	g := sh.groups[k]
	if g == nil {
		p := s.acquirePod(podName)
		k.pod = p.name
		g = &group{service: s, pod: p}
		sh.groups[k] = g
		sh.slab.number(g)
	}
	g.add(e, slot)
	g.count(e, 1)
}

func (sh *shard) leaveLocked(e *entry) {
	g := sh.slab.groupOf(e)
	g.count(e, -1)
	g.remove(e, &sh.slab)
	if g.size() == 0 {
		sh.slab.forget(g)
		delete(sh.groups, groupKey{g.service, g.pod.name})
		g.service.releasePod(g.pod)
	}
}

// cameBackLocked notes that the session of an entry is more than an id that was used
// once.
func (sh *shard) cameBackLocked(e *entry) {
	if e.seat&onceFlag == 0 {
		return
	}
	g, slot := sh.slab.groupOf(e), e.Slot
	g.remove(e, &sh.slab)
	e.seat &^= onceFlag
	g.add(e, slot)
	g.countOnce(-1)
}

// walkStep bounds the entries looked at under one hold of the lock.
const walkStep = 256

// walk visits the members that the group has now, with the lock held but released
// every walkStep entries; some it may visit twice. A member that goes over to the
// second list meanwhile goes to its end, which is visited later. The visitor may
// remove the entry.
func (sh *shard) walk(g *group, visit func(*entry)) {
	for list := range g.members {
		for i := -1; i != 0; {
			i = sh.walkSome(g, list, i, visit)
		}
	}
}

// walkSome visits members below end, all of them if that is -1, and returns where to
// go on.
func (sh *shard) walkSome(g *group, list, end int, visit func(*entry)) (next int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	n := len(g.members[list])
	if end >= 0 {
		n = min(end, n)
	}
	for left := walkStep; n > 0 && left > 0; left-- {
		n--
		visit(sh.slab.at(g.members[list][n]))
	}
	return n
}

// someEntries looks at the slots from at on and visits the entries in them, with the
// lock held for walkStep slots at most. It returns where to go on, 0 at the end. An
// entry keeps its slot, but when the slab grows: then it begins anew, as it does not
// know the size, so it may visit an entry twice. The visitor may remove the entry.
func (sh *shard) someEntries(at, size int, visit func(*entry)) (next, sizeNow int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	entries := sh.slab.entries
	if len(entries) != size {
		at = 0
	}
	end := min(at+walkStep, len(entries))
	for ; at < end; at++ {
		if e := &entries[at]; e.Group != 0 {
			visit(e)
		}
	}
	if at == len(entries) {
		return 0, at
	}
	return at, len(entries)
}

// eachEntry is someEntries until all that are there all the while were visited.
func (sh *shard) eachEntry(visit func(*entry)) {
	at, size := sh.someEntries(0, 0, visit)
	for at != 0 {
		at, size = sh.someEntries(at, size, visit)
	}
}
