//go:build !linux

package procgroup

import "syscall"

// Attr puts a child into its own process group. Unlike on Linux, a child
// outlives a parent that is killed.
func Attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
