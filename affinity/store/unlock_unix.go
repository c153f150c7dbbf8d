//go:build unix && !aix && !solaris

package store

import (
	"os"
	"syscall"
)

// unlock gives bbolt's lock of the file back: what is mapped of a file keeps the
// lock, though the file is closed.
func unlock(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return // it is closed
	}
	// An error means that there was no lock.
	_ = raw.Control(func(fd uintptr) { _ = syscall.Flock(int(fd), syscall.LOCK_UN) })
}
