package main

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"testing"
)

func mustAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestCommandLine(t *testing.T) {
	good, bad := writeConfig(t, goodConfig), writeConfig(t, "listen: nowhere\n")
	for name, c := range map[string]struct {
		args        []string
		code        int
		out, errout string
	}{
		"version":       {[]string{"--version"}, 0, "extproc unknown", ""},
		"good":          {[]string{"--check", "--config", good}, 0, "is valid", ""},
		"bad":           {[]string{"--check", "--config", bad}, 1, "", "listen"},
		"no file":       {[]string{"--config", good + ".not"}, 1, "", "no such file"},
		"unknown flag":  {[]string{"--odd"}, 2, "", "odd"},
		"stray word":    {[]string{"serve"}, 2, "", `"serve"`},
		"bad log level": {[]string{"--log-level", "loud"}, 2, "", "loud"},
		"help":          {[]string{"--help"}, 0, "", "-config FILE"},
	} {
		var out, errout bytes.Buffer
		code := run(context.Background(), c.args, &out, &errout)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errout.String(), c.errout) {
			t.Errorf("%s: exit %d, %q, %q", name, code, out.String(), errout.String())
		}
	}
}
