package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestExitCodesAndMessages(t *testing.T) {
	program := Program{
		Check: func(file string) error {
			if file == "bad.yaml" {
				return errors.New("bad.yaml:3: unknown field \"x\"")
			}
			return nil
		},
		Run: func(_ context.Context, p Process) error {
			p.Logger.Info("running")
			if p.ConfigFile == "bad.yaml" {
				return errors.New("no")
			}
			return nil
		},
	}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--check --config good.yaml", 0, ""},
		{"--check --config bad.yaml", 1, `xds-server: bad.yaml:3: unknown field "x"`},
		{"--version", 0, "stdout: xds-server "},
		{"--help", 0, "-config FILE"},
		{"--nonsense", 2, "nonsense"},
		{"stray", 2, `unexpected argument "stray"`},
		{"--log-level loud", 2, "--log-level"},
		{"--config good.yaml", 0, `"msg":"running"`},
		{"--config bad.yaml --log-level error", 1, "xds-server: no"},
	} {
		var stdout, stderr strings.Builder
		code := Main("xds-server", strings.Fields(c.args), &stdout, &stderr, program)
		out := stderr.String()
		if stdout.Len() > 0 {
			out = "stdout: " + stdout.String() + out
		}
		if code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: got %d %q, want %d %q", c.args, code, out, c.code, c.says)
		}
	}
}
