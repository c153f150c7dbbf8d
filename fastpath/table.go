package fastpath

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// Options configures a Table.
type Options struct {
	// Path is where readers find the file; its folder should be in memory. Required.
	Path string
	// Capacity is how many bindings there is room for, at least 1; about one in a thousand of
	// them finds no place. Each takes 24 bytes.
	Capacity int
	// Pods is how many pods there is room for, at least 1. Each takes 4 KiB, when it comes;
	// those that were removed keep their place for a minute.
	Pods int
	// Services is how many services there is room for, at least 1. Each has 1 KiB for its
	// policy on average, and takes 4 KiB more when it comes.
	Services int
	// Now is CLOCK_MONOTONIC, as readers of the table see it. nil means Monotonic.
	Now func() time.Duration
}

// sparePolicies are bytes beyond those that each service has.
const sparePolicies = 1 << 20

func (o *Options) validate() error {
	switch {
	case o.Path == "":
		return errors.New("no path")
	case o.Capacity < 1 || o.Pods < 1 || o.Services < 1:
		return fmt.Errorf("room for %d bindings, %d pods and %d services: at least one of each is needed", o.Capacity, o.Pods, o.Services)
	case o.Capacity > math.MaxInt32 || o.Pods+o.Services > math.MaxInt32/layout.PodSize || o.Services > 1<<20:
		return fmt.Errorf("room for %d bindings, %d pods and %d services: too many", o.Capacity, o.Pods, o.Services)
	}
	return nil
}

// Table is a table's file with what its writer knows besides. Its methods may be called
// concurrently; after Close they do nothing.
type Table struct {
	path string
	now  func() time.Duration

	mu      sync.Mutex
	mem     layout.Memory // nil when closed
	file    string        // where it is: beside path, then path
	open    *os.File      // the same, to allocate its records
	id      os.FileInfo
	hashKey [2]uint64
	created time.Duration
	places  places

	services map[string]*service // those that were removed, too: their numbers stay theirs
	versions uint64              // of policies
	arena    arena
	pods     []pod
	fresh    int // the first record that nobody had; those from it on are holes
	removed  int // records of pods that were removed
	bindings int
	ids      []uint64 // of the sessions, by their entries
	swept    sweep
	readers  readers
}

// places are where the parts of the file are.
type places struct {
	buckets, nBuckets     uint64
	pods, nPods           uint64
	services, nServices   uint64 // slots
	addresses, nAddresses uint64 // slots
	arena, arenaSize      uint64
	size                  uint64
}

// placesFor lays a file out, all parts at multiples of 4096.
func placesFor(o Options) places {
	p := places{
		nBuckets:  (uint64(o.Capacity)*24 + layout.BucketSize - 1) / layout.BucketSize,
		nPods:     uint64(o.Pods + o.Services), // each service counts unbound requests in one
		nServices: 2 << bits.Len(uint(o.Services-1)),
		arenaSize: uint64(o.Services)<<10 + sparePolicies,
	}
	p.nAddresses = 2 << bits.Len(uint(p.nPods-1))
	p.size = layout.HeaderSize
	place := func(bytes uint64) (at uint64) {
		at = p.size
		p.size += (bytes + layout.HeaderSize - 1) &^ (layout.HeaderSize - 1)
		return at
	}
	p.pods = place(p.nPods * layout.PodSize)
	p.addresses = place(p.nAddresses * 4)
	p.services = place(p.nServices * layout.ServiceSlotSize)
	p.buckets = place(p.nBuckets * layout.BucketSize)
	p.arena = place(p.arenaSize)
	return p
}

// Create makes a table of its own, which nobody acts on until Activate.
func Create(o Options) (*Table, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("fast-path table: %w", err)
	}
	t := &Table{path: o.Path, now: o.Now, places: placesFor(o), services: map[string]*service{}}
	if t.now == nil {
		t.now = Monotonic
	}
	t.created = t.now()
	t.pods = make([]pod, t.places.nPods)
	t.ids = make([]uint64, t.places.nBuckets*layout.BucketEntries) // takes memory where there are sessions
	t.swept.at = t.created
	if err := t.create(); err != nil {
		return nil, fmt.Errorf("fast-path table: %w", err)
	}
	return t, nil
}

// create makes the file, and maps it.
func (t *Table) create() (err error) {
	f, err := os.CreateTemp(filepath.Dir(t.path), filepath.Base(t.path)+".*") // of mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
			f.Close()
		}
	}()
	t.file, t.open = f.Name(), f
	if t.id, err = f.Stat(); err != nil {
		return err
	}
	if t.mem, err = mapFile(f, t.places.size); err != nil {
		return fmt.Errorf("%s of %d bytes: %w", t.file, t.places.size, err)
	}
	if err := t.allocate(); err != nil {
		return errors.Join(fmt.Errorf("%s of %d bytes: %w", t.file, t.places.size, err), unmap(t.mem))
	}
	t.writeHeader()
	return nil
}

// allocate allocates all but the records of pods.
func (t *Table) allocate() error {
	p := &t.places
	if err := allocate(t.open, 0, p.pods); err != nil {
		return err
	}
	after := p.pods + p.nPods*layout.PodSize
	return allocate(t.open, after, p.size-after)
}

func (t *Table) writeHeader() {
	var key [16]byte
	rand.Read(key[:]) // never fails: crypto/rand ends the process rather than return an error
	t.hashKey = [2]uint64{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
	m, p := t.mem, &t.places
	m.StoreBytes(layout.OffMagic, []byte(layout.Magic))
	m.Store32(layout.OffVersion, layout.Version)
	m.Store32(layout.OffHeaderSize, layout.HeaderSize)
	m.Store64(layout.OffFileSize, p.size)
	m.StoreBytes(layout.OffHashKey, key[:])
	m.Store64(layout.OffBucketCount, p.nBuckets)
	m.Store64(layout.OffBuckets, p.buckets)
	m.Store32(layout.OffPodCount, uint32(p.nPods))
	m.Store32(layout.OffPodSize, layout.PodSize)
	m.Store64(layout.OffPods, p.pods)
	m.Store32(layout.OffServiceSlots, uint32(p.nServices))
	m.Store32(layout.OffServiceSlotSize, layout.ServiceSlotSize)
	m.Store64(layout.OffServices, p.services)
	m.Store32(layout.OffAddressSlots, uint32(p.nAddresses))
	m.Store64(layout.OffAddresses, p.addresses)
	m.Store64(layout.OffArena, p.arena)
	m.Store64(layout.OffArenaSize, p.arenaSize)
	m.Store64(layout.OffCreated, uint64(t.created))
	boot := bootID()
	m.StoreBytes(layout.OffBoot, boot[:])
	m.Store64(layout.OffLeaseEnd, layout.NoLease)
}
