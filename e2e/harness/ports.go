package harness

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
)

// Ports are taken below the range that the kernel gives to outgoing connections,
// so that none is taken between its choice here and its use.
const (
	firstPort = 15_000
	lastPort  = 32_000
	blockSize = 100
	// maxBlocks is how many blocks one test program takes; then it goes through its
	// own ports again, of which those in use are passed over.
	maxBlocks = 40
)

// portBlocks are the ports that this test program alone uses: each block is its
// own for as long as it listens on the block's first port.
type portBlocks struct {
	mu    sync.Mutex
	taken []net.Listener
	first []int // port of each block
	block int   // the one in use, an index of first
	used  int   // ports of that block
}

var ports portBlocks

// Address returns a free loopback address, a different one on every call. Test
// programs that run at the same time take them from different blocks.
func Address(t testing.TB) string {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range maxBlocks * blockSize {
		port, err := ports.nextLocked()
		if err != nil {
			t.Fatal(err)
		}
		address := loopback(port)
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

func (b *portBlocks) nextLocked() (port int, err error) {
	if len(b.first) == 0 || b.used == blockSize {
		if err := b.turnLocked(); err != nil {
			return 0, err
		}
	}
	port = b.first[b.block] + b.used
	b.used++
	return port, nil
}

// turnLocked goes to another block, a new one if more may be taken.
func (b *portBlocks) turnLocked() error {
	if len(b.first) < maxBlocks {
		for port := firstPort; port < lastPort; port += blockSize {
			if l, err := net.Listen("tcp", loopback(port)); err == nil {
				b.taken, b.first = append(b.taken, l), append(b.first, port)
				b.block, b.used = len(b.first)-1, 1
				return nil
			}
		}
	}
	if len(b.first) == 0 {
		return errors.New("no block of ports is free")
	}
	b.block, b.used = (b.block+1)%len(b.first), 1
	return nil
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
