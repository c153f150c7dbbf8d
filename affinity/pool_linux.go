package affinity

import "golang.org/x/sys/unix"

func adviseHuge(b []byte) {
	if b = inHugePages(b); len(b) > 0 {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // refused by a kernel that has none
	}
}
