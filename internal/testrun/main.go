// Command testrun runs `go test` and says how much of it did not run: it passes
// its arguments on, shows the output of what failed, then counts the skipped
// tests with their reasons, names the slowest ones, and ends with go test's own
// lines and exit status:
//
//	$ testrun -count=1 ./...
//	…
//	1 test was skipped:
//	  e2e.TestScrape: prometheus is not on PATH: scripts/test-deps.sh installs it
//	the slowest tests:
//	    31.4s e2e.TestPodsThatFlapHardlyMoveSessions
//	  …
//	ok  	github.com/stateful-route/stateful-route/config	0.021s
//	ok  	github.com/stateful-route/stateful-route/e2e	93.412s
//
// With CI set to anything but "" and "false", a skipped test is a failure, but for
// a short list of exceptions: a machine that lacks what the tests need must not
// look as if they had passed.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	strict := os.Getenv("CI") != "" && os.Getenv("CI") != "false"
	code, err := run(os.Args[1:], strict)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		code = 1
	}
	os.Exit(code)
}

// run returns go test's exit status, or 1 where strict finds fault.
func run(args []string, strict bool) (int, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	r := newReport(os.Stdout)
	readErr := r.read(events)
	waitErr := cmd.Wait()
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) {
		return 0, errors.Join(readErr, waitErr)
	}
	code := cmd.ProcessState.ExitCode()
	if err := errors.Join(readErr, r.close(waitErr != nil)); err != nil || !strict {
		return code, err
	}
	if missing := r.unexpected(slices.Contains(args, "-race")); len(missing) > 0 {
		return 1, fmt.Errorf("CI is set, and these tests were skipped: %s", strings.Join(missing, ", "))
	}
	return code, nil
}
