package procstat

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// controlGroup is one level of the control groups that hold the process.
type controlGroup struct {
	version    int
	controller string // "memory" or "cpu" in version 1, "" in version 2
	dir        string // below the root, without a leading slash
}

// groups lists the control groups from the process's own up to the topmost. In
// a container the path in /proc may be the host's; then only the mount's own
// directory exists, and it is the container's group.
func (r *ProcessReader) groups() []controlGroup {
	text, err := fs.ReadFile(r.root, "proc/self/cgroup")
	if err != nil {
		return nil // no control groups: the machine is the limit
	}
	var groups []controlGroup
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		if parts[0] == "0" && parts[1] == "" {
			groups = append(groups, levels(controlGroup{version: 2}, "sys/fs/cgroup", parts[2])...)
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			if controller == "memory" || controller == "cpu" {
				group := controlGroup{version: 1, controller: controller}
				groups = append(groups, levels(group, "sys/fs/cgroup/"+controller, parts[2])...)
			}
		}
	}
	return groups
}

func levels(group controlGroup, mount, own string) []controlGroup {
	var groups []controlGroup
	for dir := path.Clean("/" + own); ; dir = path.Dir(dir) {
		group.dir = path.Join(mount, dir)
		groups = append(groups, group)
		if dir == "/" {
			return groups
		}
	}
}

// memory is what the group uses, without the page cache that the kernel can
// take back, and its limit; false without a limit.
func (g controlGroup) memory(root fs.FS) (used, limit uint64, ok bool) {
	usedFile, limitFile, reclaimable := "memory.current", "memory.max", "inactive_file"
	if g.version == 1 {
		usedFile, limitFile, reclaimable = "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"
	}
	limit, ok = g.number(root, limitFile)
	// Version 1 says "no limit" with the largest number of pages.
	if !ok || g.controller == "cpu" || limit == 0 || limit >= 1<<62 {
		return 0, 0, false
	}
	if used, ok = g.number(root, usedFile); !ok {
		return 0, 0, false
	}
	return used - min(used, g.statistic(root, reclaimable)), limit, true
}

// cpu is the number of cores that the group's quota allows; false without one.
func (g controlGroup) cpu(root fs.FS) (cores float64, ok bool) {
	if g.version == 2 {
		text, err := fs.ReadFile(root, path.Join(g.dir, "cpu.max"))
		words := strings.Fields(string(text))
		if err != nil || len(words) != 2 {
			return 0, false
		}
		return ratio(words[0], words[1])
	}
	quota, errQuota := fs.ReadFile(root, path.Join(g.dir, "cpu.cfs_quota_us"))
	period, errPeriod := fs.ReadFile(root, path.Join(g.dir, "cpu.cfs_period_us"))
	if errQuota != nil || errPeriod != nil {
		return 0, false
	}
	return ratio(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)))
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

func (g controlGroup) number(root fs.FS, file string) (uint64, bool) {
	text, err := fs.ReadFile(root, path.Join(g.dir, file))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// statistic reads one line of memory.stat, 0 when it is not there.
func (g controlGroup) statistic(root fs.FS, name string) uint64 {
	text, err := fs.ReadFile(root, path.Join(g.dir, "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}
