package fleet

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// Program is a program that a gateway consists of, found in the environment variable,
// on PATH, or where Debian puts servers.
type Program struct {
	Name string
	Env  string // names another path of it
}

// Path is where the program is.
func (p Program) Path() (string, error) {
	name := p.Name
	if p.Env != "" {
		name = cmp.Or(os.Getenv(p.Env), p.Name)
	}
	for _, candidate := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

var versionNumber = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+`)

// Version is the first x.y.z that the program prints with the argument, on either output.
func (p Program) Version(ctx context.Context, argument string) (string, error) {
	path, err := p.Path()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, argument).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", p.Name, argument, err, out)
	}
	v := versionNumber.FindString(string(out))
	if v == "" {
		return "", fmt.Errorf("%s %s: no version in %q", p.Name, argument, out)
	}
	return v, nil
}

// AtLeast reports whether the version x.y.z is not older than least.
func AtLeast(version, least string) bool {
	a, b := strings.Split(version, "."), strings.Split(least, ".")
	for i := range min(len(a), len(b)) {
		x, errX := strconv.Atoi(a[i])
		y, errY := strconv.Atoi(b[i])
		if errX != nil || errY != nil {
			return false
		}
		if x != y {
			return x > y
		}
	}
	return len(a) >= len(b)
}
