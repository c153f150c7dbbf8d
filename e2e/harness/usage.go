package harness

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Usage is what a program holds at one moment.
type Usage struct {
	RSS         int64 // bytes
	Goroutines  int
	Descriptors int // open files and sockets
}

// Usage reads what the running program holds; metrics is the URL of its metrics.
func (p *Process) Usage(metrics string) (Usage, error) {
	dir := fmt.Sprintf("/proc/%d/", p.Pid())
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return Usage{}, err
	}
	var u Usage
	for line := range strings.Lines(string(status)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "VmRSS:" {
			kb, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return Usage{}, fmt.Errorf("%sstatus: %w", dir, err)
			}
			u.RSS = kb << 10
		}
	}
	open, err := os.ReadDir(dir + "fd")
	if err != nil {
		return Usage{}, err
	}
	u.Descriptors = len(open)
	goroutines, err := Metric(metrics, "go_goroutines")
	u.Goroutines = int(goroutines)
	return u, err
}
