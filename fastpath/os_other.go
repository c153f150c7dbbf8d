//go:build !linux

package fastpath

import (
	"errors"
	"os"
	"time"
)

// Monotonic is for Linux: elsewhere there is no table.
func Monotonic() time.Duration { return 0 }

func mapFile(*os.File, uint64) ([]byte, error) { return nil, errors.ErrUnsupported }

func allocate(*os.File, uint64, uint64) error { return errors.ErrUnsupported }

func bootID() [16]byte { return [16]byte{} }

func unmap([]byte) error { return nil }

func processGone(uint32) bool { return false }
