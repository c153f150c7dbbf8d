// Package procgroup starts programs that cannot outlive this one and stops them
// with whatever they started themselves. Each gets a process group of its own,
// so a Ctrl-C at the terminal does not reach it behind its parent's back:
//
//	cmd := exec.Command("envoy", …)
//	cmd.SysProcAttr = procgroup.Attr()
//	…
//	procgroup.Signal(cmd.Process.Pid, syscall.SIGTERM)
package procgroup

import "syscall"

// Signal sends sig to the group that pid leads. A group that is gone is not an
// error: what the signal was for has happened.
func Signal(pid int, sig syscall.Signal) { _ = syscall.Kill(-pid, sig) }
