package fastpath

import (
	"errors"
	"os"
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

// mapFile maps a file that has room on its file system for all of size: a file with holes
// would end us, and Envoy, once that is full.
func mapFile(f *os.File, size uint64) ([]byte, error) {
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(size)); err != nil {
		return nil, os.NewSyscallError("fallocate", err)
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return m, os.NewSyscallError("mmap", err)
}

func unmap(m []byte) error { return os.NewSyscallError("munmap", unix.Munmap(m)) }

// processGone reports whether no process that we can see has that id.
func processGone(pid uint32) bool { return errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) }
