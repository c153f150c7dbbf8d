package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
)

// disk is a small file system of its own.
type disk struct {
	testing.TB
	dir string
}

func newDisk(t *testing.T, options string) disk {
	t.Helper()
	d := disk{t, t.TempDir()}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a file system of its own cannot be mounted: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(d.dir, syscall.MNT_DETACH) })
	return d
}

func (d disk) remount(options string) {
	d.Helper()
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT, options); err != nil {
		d.Fatal(fmt.Errorf("remount: %w", err))
	}
}

// On a disk that is full and later gone, all that cannot be written is
// told, and written as soon as the disk takes it.
func TestADiskThatFillsUpAndGoes(t *testing.T) {
	d := newDisk(t, "size=1m")
	ta := newTable(t, filepath.Join(d.dir, "pins.db"), 1000)
	for i := range 30_000 {
		ta.put(binding(i))
	}
	ta.eventually("a full disk is told", func() bool { return errors.Is(ta.store.Stats().Trouble, syscall.ENOSPC) })
	d.remount("size=64m")
	ta.settle()

	if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	ta.eventually("a disk that is gone is told", func() bool { return ta.store.Stats().Renewals == 1 })
	ta.put(binding(50_000))
	ta.settle()
	ta.expectWhole()
	ta.expectReported("no space left on device")
}
