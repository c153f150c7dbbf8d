package layout

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// Memory is a table's file, mapped. Every word that another process may write or read
// meanwhile is loaded and stored atomically, which in Go is in the order of the program.
type Memory []byte

func (m Memory) word32(off uint64) *uint32 { return (*uint32)(unsafe.Pointer(&m[off : off+4][0])) }
func (m Memory) word64(off uint64) *uint64 { return (*uint64)(unsafe.Pointer(&m[off : off+8][0])) }

// Load32 reads the word at off, which must be a multiple of its size, as everywhere here.
func (m Memory) Load32(off uint64) uint32 { return atomic.LoadUint32(m.word32(off)) }

// Load64 reads the word at off.
func (m Memory) Load64(off uint64) uint64 { return atomic.LoadUint64(m.word64(off)) }

// Store32 writes the word at off.
func (m Memory) Store32(off uint64, v uint32) { atomic.StoreUint32(m.word32(off), v) }

// Store64 writes the word at off.
func (m Memory) Store64(off, v uint64) { atomic.StoreUint64(m.word64(off), v) }

// Swap32 writes the word at off and returns what it was.
func (m Memory) Swap32(off uint64, v uint32) uint32 { return atomic.SwapUint32(m.word32(off), v) }

// Add32 adds to the word at off.
func (m Memory) Add32(off uint64, v uint32) uint32 { return atomic.AddUint32(m.word32(off), v) }

// Add64 adds to the word at off.
func (m Memory) Add64(off, v uint64) uint64 { return atomic.AddUint64(m.word64(off), v) }

// CompareAndSwap32 writes the word at off if it is old, and reports whether it was.
func (m Memory) CompareAndSwap32(off uint64, old, v uint32) bool {
	return atomic.CompareAndSwapUint32(m.word32(off), old, v)
}

// StoreBytes writes a text from off on, a multiple of 4, and zeros to the end of its last word.
func (m Memory) StoreBytes(off uint64, text []byte) {
	for len(text) >= 4 {
		m.Store32(off, binary.LittleEndian.Uint32(text))
		off, text = off+4, text[4:]
	}
	if len(text) > 0 {
		var last [4]byte
		copy(last[:], text)
		m.Store32(off, binary.LittleEndian.Uint32(last[:]))
	}
}

// LoadBytes reads n bytes from off on, a multiple of 4.
func (m Memory) LoadBytes(off uint64, n int) []byte {
	text := make([]byte, 0, n+3)
	for len(text) < n {
		text = binary.LittleEndian.AppendUint32(text, m.Load32(off))
		off += 4
	}
	return text[:n]
}

// Write has readers of the words that write changes see all of the change, or none: the
// number at seq is odd while it is made. A writer that dies meanwhile leaves it odd, and
// what it is about unusable.
func (m Memory) Write(seq uint64, write func()) {
	n := m.Load32(seq) | 1
	m.Store32(seq, n)
	write()
	m.Store32(seq, n+1)
}

// ReadTries are as many as a reader makes that finds a change being made.
const ReadTries = 32

// Read calls read until nothing was changed meanwhile, and reports whether that came to be.
func (m Memory) Read(seq uint64, read func()) bool {
	for range ReadTries {
		before := m.Load32(seq)
		if before&1 != 0 {
			continue
		}
		read()
		if m.Load32(seq) == before {
			return true
		}
	}
	return false
}
