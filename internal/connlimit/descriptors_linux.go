package connlimit

import "syscall"

// maxDescriptors is how many files and sockets the process may have open; 0 when
// that is not known.
func maxDescriptors() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0
	}
	return int(min(r.Cur, 1<<30))
}
