package layout

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Words that are written together are read together.
func TestReadsAreWhole(t *testing.T) {
	const words, writes = 64, 20_000
	m := make(Memory, 4+4*words)
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !done.Load() {
				var read [words]uint32
				whole := m.Read(0, func() {
					for w := range read {
						read[w] = m.Load32(uint64(4 + 4*w))
					}
				})
				for w := range read {
					if whole && read[w] != read[0] {
						t.Errorf("word %d is %d, the first is %d", w, read[w], read[0])
						return
					}
				}
			}
		})
	}
	for i := range uint32(writes) {
		m.Write(0, func() {
			for w := range words {
				m.Store32(uint64(4+4*w), i)
			}
		})
	}
	done.Store(true)
	readers.Wait()
}

// What a writer that died was writing is read by nobody, until it is written anew.
func TestReadOfWhatIsHalfWritten(t *testing.T) {
	m := make(Memory, 8)
	m.Store32(0, 7)
	if m.Read(0, func() {}) {
		t.Error("it was read")
	}
	m.Write(0, func() { m.Store32(4, 1) })
	if !m.Read(0, func() {}) {
		t.Error("it was not read")
	}
}
