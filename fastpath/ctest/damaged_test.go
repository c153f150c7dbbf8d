//go:build cgo && linux

package ctest

import (
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
	"github.com/stateful-route/stateful-route/fastpath/module"
)

var damages = flag.Int("ctest.damages", 200, "how many damaged tables TestNoTableEndsItsReader makes, and a hundred times as many policies")

// sanitized builds a program of the core, with the sanitizers in it.
func sanitized(t *testing.T, main string) string {
	t.Helper()
	sources, err := filepath.Glob("../module/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatal(sources, err)
	}
	compiler := os.Getenv("CC")
	if compiler == "" {
		compiler = "cc"
	}
	out := filepath.Join(t.TempDir(), "program")
	args := append([]string{"-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
		"-fno-sanitize-recover=all", "-pthread", "-I../module", "-o", out, main}, sources...)
	if text, err := exec.CommandContext(t.Context(), compiler, args...).CombinedOutput(); err != nil {
		if strings.Contains(string(text), "cannot find") {
			t.Skipf("the compiler has no sanitizers: %s", text)
		}
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// A table that is damaged, cut short, foreign, or cut short while it is mapped takes requests
// to the callout, and ends nobody.
func TestNoTableEndsItsReader(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	s.policy(t, statefulroute.SessionPolicy{
		Key: []statefulroute.SessionSource{
			fromHeader, {Kind: statefulroute.FromCookie, Name: "sid"}, {Kind: statefulroute.FromQuery, Name: "session"},
			{Kind: statefulroute.FromPath, Name: `^/(?i:rooms)/(\w+?)+$`},
		},
		Learn:         []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "x-made"}, {Kind: statefulroute.FromCookie, Name: "sid"}},
		OnExtprocLoss: statefulroute.Deny,
	})
	for _, key := range []string{"s1", "s2", "s3"} {
		if !s.writer.Publish("chat", key, podName(1), 0, 0) {
			t.Fatal("no place")
		}
	}
	seed := rand.Uint64() >> 1
	program := sanitized(t, "testdata/damaged.c")
	cmd := exec.CommandContext(t.Context(), program, s.path, filepath.Join(t.TempDir(), "copy"), strconv.Itoa(*damages), strconv.FormatUint(seed, 10))
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", seed, err, text)
	}
	t.Logf("%s", text)
}

// Faults that are not about a table go to who handled them before, and a request that ends
// counts for nobody who has its pod's record or its reader's row by then.
func TestWhatIsOthersIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := newTables(t, fromHeader)
	if text, err := exec.CommandContext(t.Context(), sanitized(t, "testdata/others.c"), s.path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// What is not exactly a table of this version is not opened.
func TestOnlyATableOfThisVersionIsOpened(t *testing.T) {
	s := newTables(t, fromHeader)
	whole, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	with := func(at int, b ...byte) []byte {
		return append(append(append([]byte{}, whole[:at]...), b...), whole[at+len(b):]...)
	}
	for want, text := range map[string][]byte{
		"shorter than its header": whole[:100], "not a table": with(0, 'x'), "of another version": with(layout.OffVersion, layout.Version-1),
		"of another layout": with(layout.OffPodSize, 1), "cut short, or longer than it says": whole[:len(whole)-1],
		"its buckets are not in it": with(layout.OffBucketCount+6, 1), "its services are not in it": with(layout.OffServiceSlots, 3),
		"its addresses are not in it": with(layout.OffAddressSlots, 3), "its pods are not in it": with(layout.OffPodCount+3, 1), "its policies are not in it": with(layout.OffArenaSize+5, 1),
		"of another boot of this machine": with(layout.OffBoot, whole[layout.OffBoot]^1),
	} {
		path := filepath.Join(t.TempDir(), "table")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if core, err := module.Open(path); err == nil {
			core.Close()
			t.Errorf("opened although it is %s", want)
		} else if err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := module.Open(t.TempDir()); err == nil {
		t.Error("a folder is opened")
	}
}
