package fastpath

import (
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is the time of CLOCK_MONOTONIC, which all processes of a machine share, and
// which nobody can set.
func Monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // no Linux is without it
	}
	return time.Duration(now.Nano())
}

// mapFile maps a file of that size, which has holes where nothing was allocated.
func mapFile(f *os.File, size uint64) ([]byte, error) {
	if err := unix.Ftruncate(int(f.Fd()), int64(size)); err != nil {
		return nil, os.NewSyscallError("ftruncate", err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return m, os.NewSyscallError("mmap", err)
}

// allocate has a piece of the file have its place on the file system: to touch a hole would
// end us, and Envoy, once that is full.
func allocate(f *os.File, off, size uint64) error {
	return os.NewSyscallError("fallocate", unix.Fallocate(int(f.Fd()), 0, int64(off), int64(size)))
}

// bootID is the number of this machine's boot; zeros where it is not known.
func bootID() (id [16]byte) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	digits := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "")
	if err != nil || len(digits) != hex.EncodedLen(len(id)) {
		return id
	}
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return [16]byte{}
	}
	return id
}

func unmap(m []byte) error { return os.NewSyscallError("munmap", unix.Munmap(m)) }

// processGone reports whether no process that we can see has that id.
func processGone(pid uint32) bool { return errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) }
