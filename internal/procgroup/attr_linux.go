package procgroup

import "syscall"

// Attr puts a child into its own process group and has the kernel end it when
// this program dies, even by SIGKILL. The signal is tied to the thread that
// started the child; Go ends a thread only together with a goroutine that was
// locked to it, so do not start children from such a goroutine.
func Attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
