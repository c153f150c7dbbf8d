package process

import "syscall"

// attributes put a child into a group of its own and have the kernel end it when
// this program dies, even by SIGKILL.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
