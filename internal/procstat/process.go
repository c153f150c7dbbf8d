// Package procstat reads what this process uses of the memory and CPU it may use.
package procstat

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

// ticksPerSecond is the unit of /proc/self/stat: USER_HZ, 100 on every Linux
// that Go runs on.
const ticksPerSecond = 100

// ProcessReader reads what this process uses of the memory and CPU it may use,
// from the kernel's files: the control group's figures where a limit is set
// there (version 2 or 1), else the process's own against the machine's. It is
// for one goroutine.
type ProcessReader struct {
	root    fs.FS
	lastAt  time.Time
	lastCPU time.Duration
}

// NewProcessReader reads below root, which is os.DirFS("/") but in tests.
func NewProcessReader(root fs.FS) *ProcessReader { return &ProcessReader{root: root} }

// Read returns the usage at this moment; the CPU is averaged since the last
// call and 0 at the first.
func (r *ProcessReader) Read(now time.Time) (analysis.ProcessSample, error) {
	sample, err := r.memory()
	if err != nil {
		return analysis.ProcessSample{}, err
	}
	used, err := r.cpuTime()
	if err != nil {
		return analysis.ProcessSample{}, err
	}
	if elapsed := now.Sub(r.lastAt); !r.lastAt.IsZero() && elapsed > 0 {
		sample.CPU = float64(used-r.lastCPU) / float64(elapsed)
	}
	r.lastAt, r.lastCPU = now, used
	sample.CPULimit = r.cpuLimit()
	return sample, nil
}

// memory prefers the control group that is closest to its limit, for that one
// ends the process first.
func (r *ProcessReader) memory() (analysis.ProcessSample, error) {
	var sample analysis.ProcessSample
	for _, group := range r.groups() {
		used, limit, ok := group.memory(r.root)
		if ok && share(float64(used), float64(limit)) >= share(float64(sample.Memory), float64(sample.MemoryLimit)) {
			sample.Memory, sample.MemoryLimit = used, limit
		}
	}
	if sample.MemoryLimit > 0 {
		return sample, nil
	}
	var err error
	if sample.Memory, err = r.kilobytes("proc/self/status", "VmRSS:"); err != nil {
		return sample, err
	}
	sample.MemoryLimit, err = r.kilobytes("proc/meminfo", "MemTotal:")
	return sample, err
}

// kilobytes reads a line such as "MemTotal:  16314556 kB" as bytes.
func (r *ProcessReader) kilobytes(file, field string) (uint64, error) {
	text, err := fs.ReadFile(r.root, file)
	if err != nil {
		return 0, fmt.Errorf("procstat: read memory usage: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) >= 2 && words[0] == field {
			n, err := strconv.ParseUint(words[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("procstat: %s in %s: %w", field, file, err)
			}
			return n << 10, nil
		}
	}
	return 0, fmt.Errorf("procstat: no %s in %s", field, file)
}

// cpuTime is the time this process has spent on all cores.
func (r *ProcessReader) cpuTime() (time.Duration, error) {
	text, err := fs.ReadFile(r.root, "proc/self/stat")
	if err != nil {
		return 0, fmt.Errorf("procstat: read CPU usage: %w", err)
	}
	// The second field is the program's name in parentheses, which may itself
	// hold spaces and parentheses; utime and stime are the 14th and 15th.
	_, rest, _ := cutLast(string(text), ")")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("procstat: proc/self/stat is too short")
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(errUser, errSystem); err != nil {
		return 0, fmt.Errorf("procstat: CPU time in proc/self/stat: %w", err)
	}
	return time.Duration(user+system) * time.Second / ticksPerSecond, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// cpuLimit is the number of cores that the tightest control group allows.
func (r *ProcessReader) cpuLimit() float64 {
	limit := float64(runtime.NumCPU())
	for _, group := range r.groups() {
		if cores, ok := group.cpu(r.root); ok {
			limit = min(limit, cores)
		}
	}
	return limit
}

func share(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return part / whole
}
