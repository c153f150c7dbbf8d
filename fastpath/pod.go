package fastpath

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// pod is what the writer knows of a pod's record.
type pod struct {
	service    string
	number     uint32 // of the service
	name       string
	address    string // at which readers find it
	used       bool   // somebody's
	removed    bool
	since      time.Duration // it was removed, or its last binding was after that
	entries    int           // bindings that name it
	generation uint32
	last       counted
}

// reuseAfter is how long the record of a removed pod is kept for requests on their way to it,
// and for readers that found it by a binding that was withdrawn meanwhile.
const reuseAfter = time.Minute

// SetPod has readers know a pod of a service that is set, and whether requests may be sent
// to it.
func (t *Table) SetPod(service, name string, address netip.AddrPort, serving bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		return errClosed
	}
	if err := t.setPod(service, name, address, serving); err != nil {
		return fmt.Errorf("fast-path table: pod %q of service %q: %w", name, service, err)
	}
	return nil
}

func (t *Table) setPod(service, name string, address netip.AddrPort, serving bool) error {
	s, at := t.services[service], address.String()
	switch {
	case s == nil:
		return errors.New("there is no such service")
	case name == unboundPod || len(name) > layout.MaxPodName:
		return fmt.Errorf("its name has %d bytes, at most %d are possible", len(name), layout.MaxPodName)
	case !address.IsValid() || len(at) > layout.MaxAddress:
		t.removePod(s, name)
		return fmt.Errorf("its address %s is none that is possible", at)
	}
	i, err := t.record(s, service, name)
	if err != nil {
		return err
	}
	t.writePod(i, s.idle, at, serving)
	return nil
}

// record is the record of a pod, or a free one that is made its own.
func (t *Table) record(s *service, service, name string) (int, error) {
	i, known := s.pods[name]
	if !known {
		var err error
		if i, err = t.freeRecord(); err != nil {
			return 0, err
		}
		p := &t.pods[i]
		if p.used {
			delete(t.services[p.service].pods, p.name)
			t.removed--
		}
		t.clearInFlight(i)
		*p = pod{service: service, number: s.number, name: name, used: true, generation: p.generation + 1, last: p.last}
		s.pods[name] = i
		t.writePod(i, s.idle, "", false)
	}
	if t.pods[i].removed {
		t.pods[i].removed = false
		t.removed--
	}
	return i, nil
}

// freeRecord is that of a pod which was removed a while ago, has had no binding for as long,
// and has no request; or one that nobody had, which is allocated.
func (t *Table) freeRecord() (int, error) {
	now := t.now()
	for i := 0; i < t.fresh && t.removed > 0; i++ {
		p := &t.pods[i]
		if p.removed && p.entries == 0 && now-p.since >= reuseAfter && t.inFlight(i, layout.Readers) == 0 {
			return i, nil
		}
	}
	i := t.fresh
	if i == len(t.pods) {
		return 0, errTooManyPods
	}
	if err := allocate(t.open, t.podAt(i), layout.PodSize); err != nil {
		return 0, fmt.Errorf("no room for its record: %w", err)
	}
	t.fresh++
	return i, nil
}

var errTooManyPods = errors.New("there are too many pods")

func (t *Table) podAt(i int) uint64 { return t.places.pods + uint64(i)*layout.PodSize }

// writePod writes all that identifies a pod.
func (t *Table) writePod(i int, idle uint32, address string, serving bool) {
	m, at, p := t.mem, t.podAt(i), &t.pods[i]
	defer t.moveAddress(i, address)
	state := uint32(0)
	if serving {
		state = layout.Serving
	}
	m.Write(at+layout.PodSeq, func() {
		m.Store32(at+layout.PodState, state)
		m.Store32(at+layout.PodIdle, idle)
		m.Store32(at+layout.PodGeneration, p.generation)
		m.Store32(at+layout.PodService, p.number)
		m.Store32(at+layout.PodAddressLen, uint32(len(address))|uint32(len(p.name))<<16)
		m.StoreBytes(at+layout.PodAddress, []byte(address))
		m.StoreBytes(at+layout.PodName, []byte(p.name))
	})
}

func (t *Table) setIdle(i int, idle uint32) {
	at := t.podAt(i)
	t.mem.Write(at+layout.PodSeq, func() { t.mem.Store32(at+layout.PodIdle, idle) })
}

// RemovePod has sessions of the pod take the callout. Its bindings stay until they are
// withdrawn, and its record until a minute has passed since, and nothing needs it.
func (t *Table) RemovePod(service, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.services[service]; t.mem != nil && s != nil && name != unboundPod {
		t.removePod(s, name)
	}
}

func (t *Table) removePod(s *service, name string) {
	i, known := s.pods[name]
	if !known || t.pods[i].removed {
		return
	}
	t.pods[i].removed, t.pods[i].since = true, t.now()
	t.removed++
	t.moveAddress(i, "")
	at := t.podAt(i)
	t.mem.Write(at+layout.PodSeq, func() { t.mem.Store32(at+layout.PodState, 0) })
}
