package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/stateful-route/stateful-route/internal/envoybin"
)

const modulePath = "github.com/stateful-route/stateful-route/"

// Version is what the programs of the tests say theirs is.
const Version = "v0-test"

// Programs are the executables a stack is made of.
type Programs struct {
	// Dir holds the programs of this repository.
	Dir string
	// Envoy is the program itself, not a launcher script.
	Envoy string
	// Module is libstateful_route.so; empty where it cannot be built.
	Module string
}

// Build builds this repository's programs and Envoy's module, and finds an Envoy. They go into the
// folder that $E2E_PROGRAMS names, where those that are up to date are left as they
// are, or else into dir.
func Build(ctx context.Context, dir string, names ...string) (Programs, error) {
	p, err := build(ctx, dir, true, names...)
	if err != nil {
		return Programs{}, err
	}
	bin, err := envoybin.Find(ctx, envoybin.FindOptions{Log: os.Stderr})
	if err != nil {
		return Programs{}, err
	}
	p.Envoy = bin.Path
	return p, nil
}

// BuildOurs is Build without an Envoy, and without the module that only it has a use for.
func BuildOurs(ctx context.Context, dir string, names ...string) (Programs, error) {
	return build(ctx, dir, false, names...)
}

func build(ctx context.Context, dir string, module bool, names ...string) (Programs, error) {
	if shared := os.Getenv("E2E_PROGRAMS"); shared != "" {
		unlock, err := lockFolder(shared)
		if err != nil {
			return Programs{}, err
		}
		defer unlock()
		dir = shared
	}
	args := []string{"build", "-ldflags", "-s -w -X " + modulePath + "internal/cli.version=" + Version, "-o", dir + string(filepath.Separator)}
	if Race() {
		args = append(args, "-race")
	}
	for _, name := range names {
		args = append(args, modulePath+"cmd/"+name)
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return Programs{}, fmt.Errorf("go build: %w\n%s", err, out)
	}
	p := Programs{Dir: dir}
	if !module {
		return p, nil
	}
	var err error
	p.Module, err = buildModule(ctx, dir)
	return p, err
}

// Race reports whether the programs are built with the race detector, which makes them
// several times slower.
func Race() bool { return os.Getenv("E2E_RACE") == "1" }

// lockFolder makes the folder and keeps other test programs from building into it.
func lockFolder(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}
