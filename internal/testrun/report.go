package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

// report collects the events of one run.
type report struct {
	w       io.Writer
	output  map[[2]string][]string // by package and test, of those not ended
	skipped []skip
	times   map[[2]string]float64 // seconds, by package and test
	results []string              // go test's own line for each package
	err     error                 // the first failure to write
}

// skip is a test that did not run.
type skip struct{ folder, test, reason string }

func newReport(w io.Writer) *report {
	return &report{w: w, output: map[[2]string][]string{}, times: map[[2]string]float64{}}
}

func (r *report) read(events io.Reader) error {
	d := json.NewDecoder(events)
	for {
		var e event
		err := d.Decode(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("go test -json: %w", err)
		}
		r.add(e)
	}
}

func (r *report) add(e event) {
	id := [2]string{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		r.print(e.Output)
	case "output":
		r.line(id, e.Output)
	case "skip":
		if e.Test != "" {
			r.skipped = append(r.skipped, skip{folder(e.Package), e.Test, reason(r.output[id])})
		}
		delete(r.output, id)
	case "fail":
		r.print(r.output[id]...)
		delete(r.output, id)
	case "pass":
		delete(r.output, id)
	}
	if e.Action != "pass" && e.Action != "fail" {
		return
	}
	if e.Test == "" {
		r.print(fmt.Sprintf("testrun: %s: %s after %.1fs\n", e.Package, e.Action, e.Elapsed))
	} else {
		r.times[id] = e.Elapsed
	}
}

// line keeps a line of output: a package's result for the end, all else until
// it is known whether its test failed.
func (r *report) line(id [2]string, line string) {
	if id[1] == "" {
		for _, prefix := range []string{"ok  \t", "FAIL\t", "?   \t", "---\t"} {
			if strings.HasPrefix(line, prefix) {
				r.results = append(r.results, line)
				return
			}
		}
	}
	r.output[id] = append(r.output[id], line)
}

// folder is where in this repository a package is.
func folder(pkg string) string {
	return strings.TrimPrefix(pkg, "github.com/stateful-route/stateful-route/")
}

// reason is what a test said when it skipped itself.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// unexpected returns the tests that were skipped and may not be.
func (r *report) unexpected(race bool) []string {
	var out []string
	for _, s := range r.skipped {
		if !allowed(s.folder, s.test, race) {
			out = append(out, s.folder+"."+s.test)
		}
	}
	return out
}

// close prints what was held back for the end.
func (r *report) close(failed bool) error {
	switch n := len(r.skipped); n {
	case 0:
		r.print("no test was skipped\n")
	case 1:
		r.print("1 test was skipped:\n")
	default:
		r.print(fmt.Sprintf("%d tests were skipped:\n", n))
	}
	for _, s := range r.skipped {
		r.print("  " + s.folder + "." + s.test + ": " + s.reason + "\n")
	}
	r.printSlowest()
	r.print(r.results...)
	if failed {
		r.print("FAIL\n")
	}
	return r.err
}

func (r *report) print(lines ...string) {
	for _, line := range lines {
		if _, err := io.WriteString(r.w, line); err != nil && r.err == nil {
			r.err = err
		}
	}
}
