package procstat

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// stat is a line of /proc/PID/stat: a name that is hard to parse, the CPU time in
// hundredths of a second, and the memory in MiB.
func stat(user, system, memory int) string {
	pages := memory << 20 / os.Getpagesize()
	return fmt.Sprintf("42 (a) b (c) S 1 42 42 0 -1 4194560 10 0 0 0 %d %d 0 0 20 0 8 0 100 0 %d%s\n", user, system, pages, strings.Repeat(" 0", 28))
}

// machine makes a root directory with what every machine has: 2 GiB of memory, 256
// MiB of it ours. Extra files join them or replace them.
func machine(t *testing.T, extra map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	write(t, root, "proc/meminfo", "MemTotal:        2097152 kB\nMemFree: 5 kB\n")
	write(t, root, "proc/42/stat", stat(150, 50, 256))
	if err := os.Symlink("42", filepath.Join(root, "proc/self")); err != nil {
		t.Fatal(err)
	}
	for name, text := range extra {
		write(t, root, strings.Replace(name, "proc/self", "proc/42", 1), text)
	}
	return root
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUsageAgainstTheLimitInForce(t *testing.T) {
	all := float64(runtime.NumCPU())
	for _, c := range []struct {
		name     string
		files    map[string]string
		memory   uint64 // MiB
		limit    uint64
		cpuLimit float64
	}{
		{"no control groups", nil, 256, 2048, all},
		{"version 2, no limit", map[string]string{
			"proc/self/cgroup":                    "0::/user.slice\n",
			"sys/fs/cgroup/user.slice/memory.max": "max\n",
			"sys/fs/cgroup/user.slice/cpu.max":    "max 100000\n",
		}, 256, 2048, all},
		{"version 2, in a container", map[string]string{
			"proc/self/cgroup":             "0::/\n",
			"sys/fs/cgroup/memory.max":     "536870912\n",
			"sys/fs/cgroup/memory.current": "513802240\n",
			"sys/fs/cgroup/memory.stat":    "anon 1\ninactive_file 31457280\n",
			"sys/fs/cgroup/cpu.max":        "50000 100000\n",
		}, 460, 512, .5},
		{"version 2, the parent is tighter", map[string]string{
			"proc/self/cgroup":                      "0::/pods/one\n",
			"sys/fs/cgroup/pods/one/memory.max":     "1073741824\n",
			"sys/fs/cgroup/pods/one/memory.current": "104857600\n",
			"sys/fs/cgroup/pods/memory.max":         "1073741824\n",
			"sys/fs/cgroup/pods/memory.current":     "1048576000\n",
			"sys/fs/cgroup/pods/one/cpu.max":        "max 100000\n",
			"sys/fs/cgroup/pods/cpu.max":            "25000 100000\n",
		}, 1000, 1024, .25},
		{"version 1, path of the host", map[string]string{
			"proc/self/cgroup":                           "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "209715200\n",
			"sys/fs/cgroup/memory/memory.stat":           "cache 1\ntotal_inactive_file 104857600\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":         "75000\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":        "100000\n",
		}, 100, 256, .75},
		{"version 1, no limit", map[string]string{
			"proc/self/cgroup":                           "4:memory:/\n5:cpu:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes": "209715200\n",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us":         "-1\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us":        "100000\n",
		}, 256, 2048, all},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := NewReader(machine(t, c.files)).Read(noon)
			if err != nil {
				t.Fatal(err)
			}
			want := analysis.ProcessSample{Memory: c.memory << 20, MemoryLimit: c.limit << 20, CPULimit: c.cpuLimit}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestCPUIsAveragedBetweenReadings(t *testing.T) {
	root := machine(t, nil)
	r := NewReader(root)
	if _, err := r.Read(noon); err != nil {
		t.Fatal(err)
	}
	write(t, root, "proc/42/stat", stat(400, 100, 256)) // three more seconds of CPU within two
	got, err := r.Read(noon.Add(2 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if got.CPU != 1.5 {
		t.Errorf("CPU %v cores, want 1.5", got.CPU)
	}
}

func TestWhatCannotBeReadIsSaid(t *testing.T) {
	for _, broken := range []struct{ file, text string }{
		{"proc/meminfo", "MemTotal: many kB\n"},
		{"proc/meminfo", "MemFree: 5 kB\n"},
		{"proc/self/stat", "42 (x) S 1\n"},
		{"proc/self/stat", strings.Replace(stat(7, 8, 9), " 7 8 ", " x y ", 1)},
	} {
		if _, err := NewReader(machine(t, map[string]string{broken.file: broken.text})).Read(noon); err == nil {
			t.Errorf("%s holding %q was accepted", broken.file, broken.text)
		}
	}
	if _, err := NewReader(t.TempDir()).Read(noon); err == nil {
		t.Error("an empty file system was accepted")
	}
}

func TestThisMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads Linux files")
	}
	got, err := NewReader("/").Read(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got.Memory == 0 || got.Memory > got.MemoryLimit || got.CPULimit <= 0 || math.IsInf(got.CPULimit, 0) {
		t.Errorf("implausible: %+v", got)
	}
}
