// Package fastpathtest reads fast-path tables as the module in Envoy does, for tests.
package fastpathtest

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// Reader is a process that acts on a table, without its policies.
type Reader struct {
	mem                 layout.Memory
	hashKey             [2]uint64
	buckets, nBuckets   uint64
	pods, nPods         uint64
	services, nServices uint64
	created             time.Duration
	slot                uint64 // among the readers
	now                 func() time.Duration
	// Torn is how often an entry was found that was being written.
	Torn int
}

// Answer is what a reader finds of a session.
type Answer struct {
	// Result is "hit", or why the request takes the callout, as Table.Results names it.
	Result string
	// Pod and Address are where a hit goes.
	Pod, Address string
	pod          uint64 // its record
}

// Open maps the table at a path, as a process of that id. now is CLOCK_MONOTONIC.
func Open(path string, pid uint32, now func() time.Duration) (*Reader, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < layout.HeaderSize {
		return nil, errors.New("shorter than its header")
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r := &Reader{mem: m, now: now}
	if err := r.validate(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if err := r.claim(pid); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Reader) validate() error {
	m, size := r.mem, uint64(len(r.mem))
	if string(m.LoadBytes(layout.OffMagic, len(layout.Magic))) != layout.Magic || m.Load32(layout.OffVersion) != layout.Version ||
		m.Load32(layout.OffHeaderSize) != layout.HeaderSize || m.Load64(layout.OffFileSize) != size ||
		m.Load32(layout.OffPodSize) != layout.PodSize || m.Load32(layout.OffServiceSlotSize) != layout.ServiceSlotSize {
		return errors.New("not a table of this version")
	}
	r.hashKey = [2]uint64{m.Load64(layout.OffHashKey), m.Load64(layout.OffHashKey + 8)}
	r.buckets, r.nBuckets = m.Load64(layout.OffBuckets), m.Load64(layout.OffBucketCount)
	r.pods, r.nPods = m.Load64(layout.OffPods), uint64(m.Load32(layout.OffPodCount))
	r.services, r.nServices = m.Load64(layout.OffServices), uint64(m.Load32(layout.OffServiceSlots))
	r.created = time.Duration(m.Load64(layout.OffCreated))
	for _, part := range []struct{ off, n, each uint64 }{
		{r.buckets, r.nBuckets, layout.BucketSize}, {r.pods, r.nPods, layout.PodSize},
		{r.services, r.nServices, layout.ServiceSlotSize}, {m.Load64(layout.OffArena), m.Load64(layout.OffArenaSize), 1},
	} {
		if part.off < layout.HeaderSize || part.off > size || part.off%layout.BucketSize != 0 || part.n == 0 || part.n > (size-part.off)/part.each {
			return errors.New("a part of the table is not in it")
		}
	}
	if r.nServices&(r.nServices-1) != 0 {
		return errors.New("the slots of services are no power of two")
	}
	return nil
}

// claim takes a row of the readers.
func (r *Reader) claim(pid uint32) error {
	for i := range uint64(layout.Readers) {
		at := layout.OffReaders + i*layout.ReaderSize
		if r.mem.Load32(at+layout.ReaderPID) != 0 {
			continue
		}
		r.mem.Store64(at+layout.ReaderHeartbeat, uint64(r.now()))
		if r.mem.CompareAndSwap32(at+layout.ReaderPID, 0, pid) {
			r.mem.Add32(at+layout.ReaderGeneration, 1)
			r.slot = i
			return nil
		}
	}
	return errors.New("no row is left for a reader")
}

// Beat says that the reader is there.
func (r *Reader) Beat() {
	r.mem.Store64(layout.OffReaders+r.slot*layout.ReaderSize+layout.ReaderHeartbeat, uint64(r.now()))
}

// Leave gives the row among the readers back.
func (r *Reader) Leave() {
	r.mem.Store32(layout.OffReaders+r.slot*layout.ReaderSize+layout.ReaderPID, 0)
}

// Close unmaps the table, and leaves the reader's row as a process does that is killed.
func (r *Reader) Close() error { return unix.Munmap(r.mem) }

// Live reports whether the table may be acted on, or why not.
func (r *Reader) Live() (result string, live bool) {
	if r.mem.Load32(layout.OffState) != layout.Live {
		return "policy", false
	}
	return "lease", uint64(r.now()) < r.mem.Load64(layout.OffLeaseEnd)
}

// Policy returns a service's policy as it was compiled; nil for none.
func (r *Reader) Policy(service string) (text []byte) {
	hash := layout.ServiceHash(r.hashKey, service)
	for i := range r.nServices {
		at := r.services + ((hash+i)&(r.nServices-1))*layout.ServiceSlotSize
		switch r.mem.Load64(at + layout.SlotHash) {
		case 0:
			return nil
		case hash:
			r.mem.Read(at+layout.SlotSeq, func() {
				if text = nil; r.mem.Load32(at+layout.SlotLen) > 0 {
					text = r.mem.LoadBytes(r.mem.Load64(at+layout.SlotOff), int(r.mem.Load32(at+layout.SlotLen)))
				}
			})
			return text
		}
	}
	return nil
}
