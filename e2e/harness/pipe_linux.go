package harness

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// shrinkPipe makes a pipe as small as it can be, so that it is soon full.
func shrinkPipe(pipe *os.File) error {
	if _, err := unix.FcntlInt(pipe.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		return fmt.Errorf("shrink a pipe: %w", err)
	}
	return nil
}
