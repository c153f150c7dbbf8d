package store

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// readMoment reads the clocks. Without the name of the boot the monotonic one is of no
// use to another process.
func readMoment() moment {
	now := moment{at: time.Now()}
	var ts unix.Timespec
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err == nil && unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) == nil {
		now.at, now.boot, now.mono = time.Now(), strings.TrimSpace(string(id)), time.Duration(ts.Nano())
	}
	return now
}
