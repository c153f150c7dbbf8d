package fastpath

import (
	"errors"
	"fmt"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// service is what the writer knows of a service. Its number is its own for ever: keys of one
// that comes back are those of before.
type service struct {
	number  uint32
	slot    uint64 // offset, while it has a policy; else 0
	policy  extent
	idle    uint32 // of its pods' records
	pods    map[string]int
	unbound int // the record that counts requests without a session
}

// unboundPod is what the record is called that counts requests without a session.
const unboundPod = ""

// SetService has readers follow the service's policy. Its idle timeout is to be the one in
// force: 0 is none. What they cannot do themselves takes
// the callout, and so does all of a service that cannot be set.
func (t *Table) SetService(svc statefulroute.Service) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		return errClosed
	}
	s := t.services[svc.Name]
	if s == nil {
		s = &service{number: uint32(len(t.services)) + 1, pods: map[string]int{}}
		t.services[svc.Name] = s
	}
	if err := t.setService(s, svc); err != nil {
		t.dropPolicy(s)
		return fmt.Errorf("fast-path table: service %q: %w", svc.Name, err)
	}
	s.idle = idleUnits(svc.Session.IdleTimeout)
	for _, i := range s.pods {
		t.setIdle(i, s.idle)
	}
	return nil
}

func (t *Table) setService(s *service, svc statefulroute.Service) error {
	var err error
	if s.unbound, err = t.record(s, svc.Name, unboundPod); err != nil {
		return err
	}
	text, err := compile(svc, s.number, uint32(s.unbound))
	if err != nil {
		return err
	}
	blob, ok := t.arena.take(uint64(len(text)), t.places.arenaSize)
	if !ok {
		return fmt.Errorf("no room for its policy of %d bytes", len(text))
	}
	t.mem.StoreBytes(t.places.arena+blob.off, text)
	if err := t.setPolicy(s, svc.Name, blob, len(text)); err != nil {
		t.arena.release(blob)
		return err
	}
	return nil
}

// setPolicy has the service's slot name a policy, and gives up the one before.
func (t *Table) setPolicy(s *service, name string, blob extent, size int) error {
	hash := layout.ServiceHash(t.hashKey, name)
	if s.slot == 0 {
		slot, ok := t.freeSlot(hash)
		if !ok {
			return errors.New("there are too many services")
		}
		s.slot = slot
	}
	t.versions++
	m := t.mem
	m.Write(s.slot+layout.SlotSeq, func() {
		m.Store64(s.slot+layout.SlotHash, hash)
		m.Store32(s.slot+layout.SlotLen, uint32(size))
		m.Store64(s.slot+layout.SlotOff, t.places.arena+blob.off)
		m.Store64(s.slot+layout.SlotVersion, t.versions)
	})
	t.arena.release(s.policy)
	s.policy = blob
	return nil
}

// freeSlot is the slot for a name's hash that no service has: one that never had one, or
// whose service was removed.
func (t *Table) freeSlot(hash uint64) (slot uint64, ok bool) {
	for i := range t.places.nServices {
		slot = t.places.services + ((hash+i)&(t.places.nServices-1))*layout.ServiceSlotSize
		if t.mem.Load32(slot+layout.SlotLen) == 0 {
			return slot, true
		}
	}
	return 0, false
}

// dropPolicy has the service's requests take the callout.
func (t *Table) dropPolicy(s *service) {
	if s.slot == 0 {
		return
	}
	t.mem.Write(s.slot+layout.SlotSeq, func() { t.mem.Store32(s.slot+layout.SlotLen, 0) })
	t.arena.release(s.policy)
	s.slot, s.policy = 0, extent{}
}

// RemoveService has the service's requests take the callout, and its pods serve no more. Its
// bindings stay until they are withdrawn.
func (t *Table) RemoveService(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.services[name]
	if t.mem == nil || s == nil {
		return
	}
	t.dropPolicy(s)
	for pod := range s.pods {
		t.removePod(s, pod)
	}
}

// idleUnits is after how many units a session that was not used is left to extproc: a little
// before its idle timeout has passed.
func idleUnits(timeout time.Duration) uint32 {
	if timeout <= 0 {
		return maxUnits
	}
	return uint32(min(max(timeout/layout.UseUnit-1, 1), maxUnits))
}
