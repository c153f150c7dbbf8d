package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// FastPath says whether a stack's Envoy has the module, and its extproc a table to share.
type FastPath int

const (
	// FastPathByEnv is FastPathOn where $E2E_FAST_PATH is 1 and the stack has one extproc:
	// so all tests run on either path. Else it is FastPathOff.
	FastPathByEnv FastPath = iota
	// FastPathOn skips the test where the module cannot be built. Of several extprocs the
	// first shares its table.
	FastPathOn
	// FastPathOff has every request of a session ask extproc.
	FastPathOff
)

// wanted settles what FastPathByEnv is.
func (f FastPath) wanted(extprocs int) bool {
	if f == FastPathByEnv {
		return os.Getenv("E2E_FAST_PATH") == "1" && extprocs == 1
	}
	return f == FastPathOn
}

// sharing is what the two ends of a fast path are told; the zero value is none.
type sharing struct{ module, table string }

// sharing prepares a stack's fast path, if it is to have one.
func (o Options) sharing(t testing.TB, programs Programs) sharing {
	t.Helper()
	if !o.FastPath.wanted(max(len(o.Extprocs), 1)) {
		return sharing{}
	}
	module := o.Module
	if module == "" {
		module = programs.Module
	}
	if module == "" {
		t.Skip("the module of the fast path needs a C compiler")
	}
	dir, err := os.MkdirTemp(sharedMemory(), "stateful-route-e2e-") //nolint:usetesting // it is to be in memory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return sharing{module, filepath.Join(dir, "table")}
}

// sharedMemory is a folder in memory; empty, which is the one for temporary files, where
// there is none.
func sharedMemory() string {
	const folder = "/dev/shm"
	if info, err := os.Stat(folder); err == nil && info.IsDir() {
		return folder
	}
	return ""
}

// buildModule builds Envoy's module into dir. Its name is empty where there is no C compiler.
func buildModule(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module's source: %w", err)
	}
	script := filepath.Join(strings.TrimSpace(string(root)), "fastpath", "module", "build.sh")
	file, err := filepath.Abs(filepath.Join(dir, "libstateful_route.so"))
	if err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "sh", script, file).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the module: %w\n%s", err, out)
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	return file, nil
}

// FastPathRequests returns how many requests the first replica counts that met Envoy's
// module, by what came of it: hit is one that asked nobody. No result: all of them.
func (s *Stack) FastPathRequests(result ...string) (float64, error) {
	var labels []string
	for _, r := range result {
		labels = append(labels, fmt.Sprintf("result=%q", r))
	}
	return Metric(s.ExtprocAdmin+"/metrics", "stateful_route_fast_path_requests_total", labels...)
}
