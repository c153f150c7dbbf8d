//go:build !linux

package process

import "syscall"

// attributes put a child into a group of its own. Unlike on Linux, it outlives a
// parent that is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
