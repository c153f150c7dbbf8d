// Package procgroup starts programs that cannot outlive this one and stops them
// with whatever they started themselves. Each gets a process group of its own,
// so a Ctrl-C at the terminal does not reach it behind its parent's back:
//
//	cmd := exec.Command("envoy", …)
//	cmd.SysProcAttr = procgroup.Attr()
//	…
//	procgroup.Stop(cmd.Process.Pid, ended, 5*time.Second)
package procgroup

import (
	"syscall"
	"time"
)

// Signal sends sig to the group that pid leads. A group that is gone is not an
// error: what the signal was for has happened.
func Signal(pid int, sig syscall.Signal) { _ = syscall.Kill(-pid, sig) }

// Stop sends SIGTERM to the group that pid leads and returns when ended, which the caller
// closes once it has waited for pid, is closed. After patience it sends SIGKILL; it reports
// whether that was not needed.
func Stop(pid int, ended <-chan struct{}, patience time.Duration) bool {
	Signal(pid, syscall.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		Signal(pid, syscall.SIGKILL)
		<-ended
		return false
	}
}
