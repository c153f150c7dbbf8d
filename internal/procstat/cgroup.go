package procstat

import (
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"
)

// controlGroup is one level of the control groups that hold the process.
type controlGroup struct {
	version    int
	controller string // "memory" or "cpu" in version 1, "" in version 2
	dir        string
}

// groupsOf lists the control groups from the process's own up to the topmost. In
// a container the path in /proc may be the host's; then only the mount's own
// directory exists, and it is the container's group. Without control groups the
// machine is the limit.
func groupsOf(self procfs.Proc, root string) (groups []controlGroup) {
	own, err := self.Cgroups()
	if err != nil {
		return nil
	}
	for _, g := range own {
		if g.HierarchyID == 0 && len(g.Controllers) == 0 {
			groups = append(groups, levels(controlGroup{version: 2}, root, "", g.Path)...)
		}
		for _, controller := range g.Controllers {
			if controller == "memory" || controller == "cpu" {
				groups = append(groups, levels(controlGroup{version: 1, controller: controller}, root, controller, g.Path)...)
			}
		}
	}
	return groups
}

func levels(group controlGroup, root, mount, own string) (groups []controlGroup) {
	for dir := path.Clean("/" + own); ; dir = path.Dir(dir) {
		group.dir = filepath.Join(root, "sys", "fs", "cgroup", mount, dir)
		groups = append(groups, group)
		if dir == "/" {
			return groups
		}
	}
}

// memory is what the group uses, without the page cache that the kernel can
// take back, and its limit; false without a limit.
func (g controlGroup) memory() (used, limit uint64, ok bool) {
	usedFile, limitFile, reclaimable := "memory.current", "memory.max", "inactive_file"
	if g.version == 1 {
		usedFile, limitFile, reclaimable = "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"
	}
	limit, ok = g.number(limitFile)
	// Version 1 says "no limit" with the largest number of pages.
	if !ok || g.controller == "cpu" || limit == 0 || limit >= 1<<62 {
		return 0, 0, false
	}
	if used, ok = g.number(usedFile); !ok {
		return 0, 0, false
	}
	return used - min(used, g.statistic(reclaimable)), limit, true
}

// cpu is the number of cores that the group's quota allows; false without one.
func (g controlGroup) cpu() (cores float64, ok bool) {
	if g.version == 2 {
		words := strings.Fields(g.text("cpu.max"))
		if len(words) != 2 {
			return 0, false
		}
		return ratio(words[0], words[1])
	}
	return ratio(g.text("cpu.cfs_quota_us"), g.text("cpu.cfs_period_us"))
}

// ratio divides two positive numbers; "max" and -1 are no numbers in this sense.
func ratio(a, b string) (float64, bool) {
	x, errX := strconv.ParseFloat(a, 64)
	y, errY := strconv.ParseFloat(b, 64)
	if errX != nil || errY != nil || x <= 0 || y <= 0 {
		return 0, false
	}
	return x / y, true
}

// text is what a file of the group holds, "" when it cannot be read.
func (g controlGroup) text(file string) string {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (g controlGroup) number(file string) (uint64, bool) {
	n, err := strconv.ParseUint(g.text(file), 10, 64)
	return n, err == nil
}

// statistic reads one line of memory.stat, 0 when it is not there.
func (g controlGroup) statistic(name string) uint64 {
	for line := range strings.Lines(g.text("memory.stat")) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}
