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

func unmap([]byte) error { return nil }

func processGone(uint32) bool { return false }
