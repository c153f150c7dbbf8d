package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// atOnce is how many tests run at a time. Most of a test's time is waiting, for an
// interval, a restart or a load, so that it is more than there are cores. Under the race
// detector the load is what takes the time.
func atOnce() int {
	if harness.Race() {
		return 3
	}
	return 8
}

var programDir string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := runAtOnce(atOnce()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(runTests(m))
}

// runAtOnce has n tests run at a time, unless the command line says how many.
func runAtOnce(n int) error {
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(n))
}

func runTests(m *testing.M) int {
	var err error
	if programDir, err = os.MkdirTemp("", "stateful-route-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(programDir) }()
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// build is done by the first test that needs it, not when tests are listed.
var build = sync.OnceValues(func() (harness.Programs, error) {
	return harness.Build(context.Background(), programDir, "demo-pod", "xds-server", "extproc", "routectl")
})

var buildFailed sync.Once

func start(t *testing.T, o harness.Options) *harness.Stack {
	t.Helper()
	programs, err := build()
	if err != nil {
		// The first failure shows the compiler's output; the others need not.
		buildFailed.Do(func() { t.Log(err) })
		t.Fatal("the programs could not be built, or there is no Envoy: see the first failure")
	}
	return harness.Start(t, programs, o)
}

// scaled is n, or a sixth of it where the race detector makes all of them as dear.
func scaled(n int) int {
	if harness.Race() {
		return n / 6
	}
	return n
}
