// Package procstat reads what this process uses of the memory and CPU it may use:
// from its control groups where a limit is set there (version 2 or 1), else from the
// process itself and the machine.
package procstat

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"github.com/prometheus/procfs"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

// Reader reads the kernel's files. It is for one goroutine.
type Reader struct {
	root    string
	lastAt  time.Time
	lastCPU float64 // seconds
}

// NewReader reads below root, which is "/" but in tests.
func NewReader(root string) *Reader { return &Reader{root: root} }

// Read returns the usage at this moment; the CPU is averaged since the last
// call and 0 at the first.
func (r *Reader) Read(now time.Time) (analysis.ProcessSample, error) {
	sample, err := r.read(now)
	if err != nil {
		return analysis.ProcessSample{}, fmt.Errorf("procstat: %w", err)
	}
	return sample, nil
}

func (r *Reader) read(now time.Time) (sample analysis.ProcessSample, err error) {
	machine, err := procfs.NewFS(filepath.Join(r.root, "proc"))
	if err != nil {
		return sample, err
	}
	self, err := machine.Self()
	if err != nil {
		return sample, err
	}
	stat, err := self.Stat()
	if err != nil {
		return sample, err
	}
	groups := groupsOf(self, r.root)
	sample.Memory, sample.MemoryLimit = tightestMemory(groups)
	if sample.MemoryLimit == 0 {
		info, err := machine.Meminfo()
		if err != nil {
			return sample, err
		}
		if info.MemTotalBytes == nil {
			return sample, errors.New("no MemTotal in meminfo")
		}
		sample.Memory, sample.MemoryLimit = uint64(stat.ResidentMemory()), *info.MemTotalBytes
	}
	if elapsed := now.Sub(r.lastAt); !r.lastAt.IsZero() && elapsed > 0 {
		sample.CPU = (stat.CPUTime() - r.lastCPU) / elapsed.Seconds()
	}
	r.lastAt, r.lastCPU = now, stat.CPUTime()
	sample.CPULimit = float64(runtime.NumCPU())
	for _, group := range groups {
		if cores, ok := group.cpu(); ok {
			sample.CPULimit = min(sample.CPULimit, cores)
		}
	}
	return sample, nil
}

// tightestMemory is the usage and the limit of the control group that is closest to
// its limit, for that one ends the process first; 0 where none has a limit.
func tightestMemory(groups []controlGroup) (used, limit uint64) {
	worst := 0.0
	for _, group := range groups {
		u, l, ok := group.memory()
		if share := float64(u) / float64(l); ok && share >= worst {
			worst, used, limit = share, u, l
		}
	}
	return used, limit
}
