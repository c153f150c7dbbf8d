package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// MemoryLimit is a control group with a limit of its own. Memory that is filled
// on purpose lies in a file system in memory, which is charged to the group.
type MemoryLimit struct {
	dir     string
	usage   string // the file that says how much is used
	limit   int64
	ballast string
}

// LimitMemory makes a group with a limit of so many bytes and puts the process
// into it, until the end of the test. It skips the test on a machine that lets
// nobody make control groups.
func LimitMemory(t testing.TB, pid int, limit int64) *MemoryLimit {
	t.Helper()
	m, err := newMemoryLimit(limit)
	if err != nil {
		t.Skipf("SKIPPED: memory near its limit needs a control group of its own: %v", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Release(t)
		// A group that holds a process cannot be removed: it goes back first.
		parent := filepath.Dir(m.dir)
		_ = os.WriteFile(filepath.Join(parent, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		if err := os.Remove(m.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("control group left behind: %v (own groups: %s)", err, own)
		}
	})
	if err := m.write("cgroup.procs", int64(pid)); err != nil {
		t.Skipf("SKIPPED: memory near its limit needs a process in a control group: %v", err)
	}
	return m
}

// newMemoryLimit makes the group below this process's own in version 1 of the
// kernel's interface, and beside it in version 2, where a group that holds
// processes can have no children with limits.
func newMemoryLimit(limit int64) (*MemoryLimit, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("stateful-route-test-%d", os.Getpid())
	m, file := &MemoryLimit{limit: limit}, ""
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) == 3 && parts[1] == "memory":
			m.dir = path.Join("/sys/fs/cgroup/memory", parts[2], name)
			m.usage, file = "memory.usage_in_bytes", "memory.limit_in_bytes"
		case len(parts) == 3 && parts[0] == "0" && m.dir == "":
			m.dir = path.Join("/sys/fs/cgroup", path.Dir(parts[2]), name)
			m.usage, file = "memory.current", "memory.max"
		}
	}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return nil, err
	}
	if err := m.write(file, limit); err != nil {
		return nil, errors.Join(err, os.Remove(m.dir))
	}
	return m, nil
}

func (m *MemoryLimit) write(file string, n int64) error {
	// Not created: a file that is not there is a controller that is not.
	f, err := os.OpenFile(filepath.Join(m.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.FormatInt(n, 10))
	return errors.Join(err, f.Close())
}

// Fill fills the group up to a share of its limit.
func (m *MemoryLimit) Fill(t testing.TB, share float64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, m.usage))
	if err != nil {
		t.Fatal(err)
	}
	used, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.CreateTemp("/dev/shm", "stateful-route-test-")
	if err != nil {
		t.Fatal(err)
	}
	m.ballast = f.Name()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	kilobytes := (int64(share*float64(m.limit)) - used) >> 10
	// The shell joins the group, so that what it writes is the group's.
	script := `echo $$ > "$0/cgroup.procs" && head -c "$1"k /dev/zero > "$2"`
	out, err := exec.Command("sh", "-c", script, m.dir, strconv.FormatInt(kilobytes, 10), m.ballast).CombinedOutput()
	if err != nil {
		t.Fatalf("fill %d KiB: %v\n%s", kilobytes, err, out)
	}
}

// Release gives back what Fill took.
func (m *MemoryLimit) Release(t testing.TB) {
	t.Helper()
	if m.ballast == "" {
		return
	}
	if err := os.Remove(m.ballast); err != nil {
		t.Error(err)
	}
	m.ballast = ""
}
