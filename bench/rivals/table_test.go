package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/stickiness/adapters"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// played writes results as the suite does: counts of sessions that were served wrong, by
// schedule, one number a seed; -1 is a schedule that the gateway does not promise.
func playedBy(t *testing.T, out, name string, hits map[string][2]int) {
	t.Helper()
	var rows []map[string]any
	for _, s := range []string{"drain", "scale-up"} {
		for i, n := range hits[s] {
			r := map[string]any{"adapter": name, "schedule": s, "seed": i + 1}
			if n < 0 {
				r["not_applicable"] = "it has no such thing"
			} else {
				r["result"] = map[string]any{
					"records": 1000, "sessions": 50, "one_pod": n == 50,
					"counts": map[string]int{"right": 1000 - 2*n, "wrong pod": n, "refused": n},
					"hit":    map[string]int{"wrong pod": n},
				}
			}
			rows = append(rows, r)
		}
	}
	if err := os.MkdirAll(filepath.Join(out, name), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, v := range map[string]any{"results.json": rows, aboutFile: about{
		Command: "bin/stickiness --adapters " + name, Date: "2026-11-30", Cores: 2, Load: [2]float64{1, 3}, Versions: map[string]string{"envoy": "1.40.0"},
	}} {
		if err := writeJSON(filepath.Join(out, name, file), v); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheTableSaysWhatWasPlayed(t *testing.T) {
	out, docs := t.TempDir(), t.TempDir()
	playedBy(t, out, "haproxy-table", map[string][2]int{"drain": {0, 0}, "scale-up": {25, 50}})
	playedBy(t, out, "nginx-hash", map[string][2]int{"drain": {-1, -1}, "scale-up": {0, 1}})
	file := filepath.Join(docs, "comparison.md")
	const before = "before\n" + blockBegin + "old\n" + blockEnd + "after\n"
	if err := os.WriteFile(file, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(context.Background(), []string{"-play=false", "-out", out, "-docs", docs}); err != nil {
		t.Fatal(err)
	}
	contains(t, filepath.Join(out, "table.md"),
		"| `haproxy-table` | kept | **wrong** 50 % · 100 % ¹ |\n",
		"| `nginx-hash` | – | **varies** kept · 2 % |\n",
		"| `haproxy-table` | 0 | 5 |\n", "| `nginx-hash` | – | < 1 |\n",
		"- haproxy-table, nginx-hash: `bin/stickiness --adapters NAME` on 2 cores, load average 1 to 3, 2026-11-30; envoy 1.40.0.\n")
	contains(t, filepath.Join(out, "comparison.svg"), maroon, green, yellow, grey, "haproxy-table, scale-up: wrong 50 % · 100 % ¹")
	wellFormed(t, filepath.Join(out, "comparison.svg"))
	contains(t, file, before) // not all was played
	after, err := replaceBlock(before, "new\n")
	if want := "before\n" + blockBegin + "\nnew\n\n" + blockEnd + "after\n"; err != nil || after != want {
		t.Errorf("got %q, %v, want %q", after, err, want)
	}
}

func wellFormed(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(text)); err == nil; {
		_, err = d.Token()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("%s: %v", filepath.Base(file), err)
	}
}

func contains(t *testing.T, file string, all ...string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range all {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s has no %q:\n%s", filepath.Base(file), want, text)
		}
	}
}

var cell = regexp.MustCompile(`^(kept|–|\*\*wrong\*\* [0-9<]+( [0-9]+)? %( · [0-9<]+( [0-9]+)? %)*( ¹)?|\*\*varies\*\* .*)$`)

// TestTheDocumentIsWhatWasPlayed reads docs/comparison.md: every verdict is one, every
// schedule is there, no gateway has another's rows, and Stateful Route has no row in which
// a session was silently served wrong.
func TestTheDocumentIsWhatWasPlayed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "comparison.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, inside, _, err := block(string(text))
	if err != nil {
		t.Fatal(err)
	}
	verdicts, _, found := strings.Cut(inside, "Answers that were refused or failed")
	if !found {
		t.Fatal("it does not say what was refused")
	}
	var names, columns []string
	seen := map[string]int{}
	for line := range strings.Lines(verdicts) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case len(cells) < 2 || cells[0] == "---":
		case cells[0] == "":
			columns = cells[1:]
			names = append(names, columns...)
		default:
			name := strings.Trim(cells[0], "`")
			seen[name] += len(cells) - 1
			for i, c := range cells[1:] {
				if !cell.MatchString(c) {
					t.Errorf("%s, %s: %q is no verdict", name, columns[i], c)
				}
				if strings.HasPrefix(name, "stateful-route") && c != string(kept) && c != string(notFor) {
					t.Errorf("%s, %s: %s", name, columns[i], c)
				}
			}
		}
	}
	var want []string
	for _, s := range schedule.All() {
		want = append(want, s.Name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("the schedules are %v, want %v", names, want)
	}
	for _, a := range adapters.All() {
		if seen[a.Name] != len(want) && !strings.Contains(inside, fmt.Sprintf("Skipped: `%s`", a.Name)) {
			t.Errorf("%s has %d verdicts, want %d, and is not named as skipped", a.Name, seen[a.Name], len(want))
		}
		delete(seen, a.Name)
	}
	if len(seen) > 0 {
		t.Errorf("there are no gateways %v", seen)
	}
}
