package harness

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
)

// Ports are taken below the range that the kernel gives to outgoing connections,
// so that none is taken between its choice here and its use.
const (
	firstPort = 15_000
	numPorts  = 17_000
)

var ports struct {
	sync.Mutex
	next int
}

// Address returns a free loopback address, a different one on every call. Test
// programs that run at once begin at different places.
func Address(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = os.Getpid() * 97
	}
	for range numPorts {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+ports.next%numPorts)
		ports.next++
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}
