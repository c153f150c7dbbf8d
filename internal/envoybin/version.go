package envoybin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// Version is an Envoy release; the suffix of a development build is dropped.
type Version struct{ Major, Minor, Patch int }

// MinVersion is the oldest Envoy that may be used: earlier ones have
// use-after-free bugs in the ext_proc filter.
func MinVersion() Version { return Version{1, 39, 1} }

// PinnedVersion is the release that Find installs.
func PinnedVersion() Version { return Version{1, 40, 0} }

// String returns the version as Envoy prints it, "1.40.0".
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Less reports whether v is older than w.
func (v Version) Less(w Version) bool {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch)) < 0
}

// `envoy --version` prints "…  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL".
var versionLine = regexp.MustCompile(`version: [0-9a-f]+/(\d+)\.(\d+)\.(\d+)[^/]*/`)

// ParseVersion reads the version from the output of `envoy --version`.
func ParseVersion(output string) (Version, error) {
	m := versionLine.FindStringSubmatch(output)
	if m == nil {
		return Version{}, errors.New("no Envoy version in its --version output")
	}
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(m[i+1]); err != nil {
			return Version{}, fmt.Errorf("envoy version: %w", err)
		}
	}
	return Version{n[0], n[1], n[2]}, nil
}

// versionOf asks the program at path for its version.
func versionOf(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return Version{}, fmt.Errorf("%s --version: %w%s", path, err, lastLine(out))
	}
	v, err := ParseVersion(string(out))
	if err != nil {
		return Version{}, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}
