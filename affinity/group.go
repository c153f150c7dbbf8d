package affinity

// group is the entries of one pod of one service in one shard, in no order.
// It makes dropping, counting and listing a pod's sessions cost what the pod
// has, and gives every entry an index by which walks can be interrupted.
type group struct {
	service *service
	pod     *pod
	members []uint32 // slots
	number  uint32   // in slab.groups
}

type groupKey struct {
	service *service
	pod     string
}

func (g *group) add(e *Entry, slot uint32) {
	e.group = g.number
	e.setIndex(len(g.members))
	g.members = append(g.members, slot)
}

// remove fills the gap with the last member, so a walk from the last index to
// the first, interrupted at will, meets every member that stays.
func (g *group) remove(e *Entry, sl *slab) {
	last := len(g.members) - 1
	moved := g.members[last]
	g.members[e.index()] = moved
	sl.at(moved).setIndex(e.index())
	g.members = g.members[:last]
	e.group = 0
	if cap(g.members) > 64 && len(g.members) < cap(g.members)/4 {
		g.members = append(make([]uint32, 0, cap(g.members)/2), g.members...)
	}
}

// joinLocked puts e into the group of the pod, making one if there is none.
func (sh *shard) joinLocked(e *Entry, slot uint32, s *service, podName string) {
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
}

func (sh *shard) leaveLocked(e *Entry) {
	g := sh.slab.groupOf(e)
	g.remove(e, &sh.slab)
	if len(g.members) == 0 {
		sh.slab.forget(g)
		delete(sh.groups, groupKey{g.service, g.pod.name})
		g.service.releasePod(g.pod)
	}
}

// groupsOf returns the shard's groups that match; nil and "" match all.
func (sh *shard) groupsOf(s *service, podName string) []*group {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.groupsOfLocked(s, podName)
}

func (sh *shard) groupsOfLocked(s *service, podName string) []*group {
	if s != nil && podName != "" {
		if g := sh.groups[groupKey{s, podName}]; g != nil {
			return []*group{g}
		}
		return nil
	}
	var out []*group
	for k, g := range sh.groups {
		if (s == nil || k.service == s) && (podName == "" || k.pod == podName) {
			out = append(out, g)
		}
	}
	return out
}

// walkStep bounds the entries visited under one hold of the lock.
const walkStep = 256

// walk visits the members that the group has now, last to first, with the lock
// held but released every walkStep entries. The visitor may remove the entry.
func (sh *shard) walk(g *group, visit func(*Entry)) {
	sh.mu.Lock()
	i := len(g.members) - 1
	sh.mu.Unlock()
	for i >= 0 {
		i = sh.walkSome(g, i, visit)
	}
}

func (sh *shard) walkSome(g *group, from int, visit func(*Entry)) (next int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i := min(from, len(g.members)-1)
	for n := 0; i >= 0 && n < walkStep; n++ {
		visit(sh.slab.at(g.members[i]))
		i--
	}
	return i
}
