package main

import (
	"context"
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the pods and the external processor, which a run starts as processes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "pods" || os.Args[1] == "noop") {
		if err := run(context.Background(), os.Args[1:]); err != nil {
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// TestRun measures every row for a moment: its set-up starts, all requests are answered, none by
// the wrong pod, and the files are written.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts every proxy")
	}
	out := t.TempDir()
	p, err := parsePlan([]string{"-rounds", "1", "-time", "20ms", "-concurrency", "3", "-sessions", "7,20", "-changes", "200", "-pods", "3,20", "-module", "none", "-out", out})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(out, "rounds.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, l := range lines[1:] {
		seen[l[3]] = true
		if requests, _ := strconv.Atoi(l[4]); requests == 0 || l[5] != "0" || l[6] != "0" {
			t.Errorf("%s, HTTP/%s: %s requests, %s failed, %s by the wrong pod", l[3], l[1], l[4], l[5], l[6])
		}
	}
	for _, r := range p.wanted() {
		if !seen[r.name] {
			t.Logf("%s was skipped", r.name)
		}
	}
	for _, name := range []string{"table.md", "plot.svg"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
