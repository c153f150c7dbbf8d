package envoybin

import (
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	const release = "\n/usr/bin/envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n\n"
	for output, want := range map[string]Version{
		release: {1, 40, 0},
		strings.Replace(release, "1.40.0", "1.41.2-dev", 1): {1, 41, 2},
	} {
		if got, err := ParseVersion(output); err != nil || got != want {
			t.Errorf("ParseVersion(%q) = %v, %v; want %v", output, got, err, want)
		}
	}
	if v, err := ParseVersion("GNU envoy 1.40.0"); err == nil {
		t.Errorf("another program's version was taken for %v", v)
	}
}

func TestVersionOrder(t *testing.T) {
	ordered := []Version{{0, 99, 99}, {1, 9, 0}, {1, 39, 0}, {1, 39, 1}, {1, 40, 0}, {2, 0, 0}}
	for i, v := range ordered {
		for j, w := range ordered {
			if got := v.Less(w); got != (i < j) {
				t.Errorf("%v.Less(%v) = %v", v, w, got)
			}
		}
	}
}
