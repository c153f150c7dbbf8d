package procstat

import (
	"io/fs"
	"math"
	"os"
	"runtime"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// files are what every machine has: 2 GiB of memory, 256 MiB of it ours.
func files(extra map[string]string) fstest.MapFS {
	all := map[string]string{
		"proc/self/status": "Name:\textproc\nVmRSS:\t  262144 kB\n",
		"proc/meminfo":     "MemTotal:        2097152 kB\nMemFree: 5 kB\n",
		"proc/self/stat":   "42 (a) b (c) S 1 42 42 0 -1 4194560 10 0 0 0 150 50 0 0 20 0 8 0 100 0 0\n",
	}
	for name, text := range extra {
		all[name] = text
	}
	out := fstest.MapFS{}
	for name, text := range all {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func TestProcessUsageAgainstTheLimitInForce(t *testing.T) {
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
			got, err := NewProcessReader(files(c.files)).Read(noon)
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

func TestProcessCPUIsAveragedBetweenReadings(t *testing.T) {
	machine := files(nil)
	r := NewProcessReader(machine)
	if _, err := r.Read(noon); err != nil {
		t.Fatal(err)
	}
	// 300 ticks, or three seconds, of CPU within two seconds.
	machine["proc/self/stat"] = &fstest.MapFile{Data: []byte("42 (a) b (c) S 1 42 42 0 -1 4194560 10 0 0 0 400 100 0 0 20 0 8 0 100 0 0\n")}
	got, err := r.Read(noon.Add(2 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if got.CPU != 1.5 {
		t.Errorf("CPU %v cores, want 1.5", got.CPU)
	}
}

func TestProcessReaderSaysWhatIsMissing(t *testing.T) {
	for _, broken := range []struct{ file, text string }{
		{"proc/self/status", "Name: x\n"},
		{"proc/meminfo", "MemTotal: many kB\n"},
		{"proc/self/stat", "42 (x) S 1\n"},
		{"proc/self/stat", "42 (x) S 1 42 42 0 -1 4194560 10 0 0 0 x y 0 0 20 0\n"},
	} {
		if _, err := NewProcessReader(files(map[string]string{broken.file: broken.text})).Read(noon); err == nil {
			t.Errorf("%s holding %q was accepted", broken.file, broken.text)
		}
	}
	if _, err := NewProcessReader(fstest.MapFS{}).Read(noon); err == nil {
		t.Error("an empty file system was accepted")
	}
}

func TestProcessReaderOnThisMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads Linux files")
	}
	root, ok := os.DirFS("/").(fs.ReadFileFS)
	if !ok {
		t.Fatal("os.DirFS cannot read files")
	}
	got, err := NewProcessReader(root).Read(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if used := share(float64(got.Memory), float64(got.MemoryLimit)); used <= 0 || used > 1 || got.CPULimit <= 0 || math.IsInf(got.CPULimit, 0) {
		t.Errorf("implausible: %+v", got)
	}
}
