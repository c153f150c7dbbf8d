package procstat

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"
)

// Usage is what a process has used.
type Usage struct {
	// CPU is the time of all its threads, those that have ended included, to the
	// kernel's clock tick (10 ms).
	CPU time.Duration
	// Private is the memory that is its own: without files that it has mapped and without shared memory.
	Private uint64
}

// Of returns the usage of any process of this machine.
func Of(pid int) (Usage, error) {
	u, err := of(pid)
	if err != nil {
		return Usage{}, fmt.Errorf("procstat: %w", err)
	}
	return u, nil
}

func of(pid int) (Usage, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return Usage{}, err
	}
	stat, err := p.Stat()
	if err != nil {
		return Usage{}, err
	}
	status, err := p.NewStatus()
	return Usage{CPU: time.Duration(stat.CPUTime() * float64(time.Second)), Private: status.RssAnon}, err
}
