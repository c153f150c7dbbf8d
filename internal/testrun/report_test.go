package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// events is what `go test -json` printed for a package with a test that passes,
// one that is skipped and one that fails, cut down.
const events = `
{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"    a_test.go:3: chatter\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood/part","Elapsed":1.5}
{"Action":"pass","Package":"m/a","Test":"TestGood","Elapsed":2.25}
{"Action":"pass","Package":"m/a","Test":"TestParts/parallel","Elapsed":31}
{"Action":"pass","Package":"m/a","Test":"TestParts","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestAway","Output":"=== RUN   TestAway\n"}
{"Action":"output","Package":"m/a","Test":"TestAway","Output":"    a_test.go:9: prometheus is not on PATH\n"}
{"Action":"output","Package":"m/a","Test":"TestAway","Output":"--- SKIP: TestAway (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestAway","Elapsed":0}
{"Action":"output","Package":"m/a","Output":"PASS\n"}
{"Action":"output","Package":"m/a","Output":"ok  \tm/a\t0.004s\n"}
{"Action":"pass","Package":"m/a","Elapsed":0.004}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"    b_test.go:4: got 1\n"}
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"m/b","Test":"TestBad","Elapsed":0}
{"Action":"output","Package":"m/b","Output":"FAIL\n"}
{"Action":"output","Package":"m/b","Output":"FAIL\tm/b\t0.003s\n"}
{"Action":"fail","Package":"m/b","Elapsed":0.003}
{"Action":"output","Package":"m/c","Output":"?   \tm/c\t[no test files]\n"}
{"Action":"skip","Package":"m/c","Elapsed":0}
{"ImportPath":"m/d","Action":"build-output","Output":"d/d.go:3:1: syntax error\n"}
`

const wanted = `testrun: m/a: pass after 0.0s
=== RUN   TestBad
    b_test.go:4: got 1
--- FAIL: TestBad (0.00s)
FAIL
testrun: m/b: fail after 0.0s
d/d.go:3:1: syntax error
1 test was skipped:
  m/a.TestAway: a_test.go:9: prometheus is not on PATH
the slowest tests:
    31.0s m/a.TestParts/parallel
     2.2s m/a.TestGood
ok  	m/a	0.004s
FAIL	m/b	0.003s
?   	m/c	[no test files]
FAIL
`

func TestReport(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if err := r.close(true); err != nil {
		t.Fatal(err)
	}
	if out.String() != wanted {
		t.Errorf("got\n%s\nwant\n%s", out.String(), wanted)
	}
}

func TestReportCountsNothingSkipped(t *testing.T) {
	var out strings.Builder
	if err := newReport(&out).close(false); err != nil || out.String() != "no test was skipped\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestReportRefusesWhatIsNoJSON(t *testing.T) {
	if err := newReport(&strings.Builder{}).read(strings.NewReader("go: no such tool\n")); err == nil {
		t.Error("no error")
	}
}

func TestSkippedTestsAreAllowedByNameOnly(t *testing.T) {
	r := newReport(&strings.Builder{})
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if got := r.unexpected(false); len(got) != 1 || got[0] != "m/a.TestAway" {
		t.Errorf("got %v", got)
	}
	for test, want := range map[string][2]bool{ // without and with the race detector
		"e2e.TestMemoryNearItsLimitIsFound":             {true, true},
		"e2e.TestLivePage":                              {false, false},
		"bench/sim/balancing.TestOneOfThreeIsSlow":      {false, true},
		"bench/sim/balancing.TestPolicies/one_of_three": {false, true},
		"store.TestADiskThatFillsUpAndGoes":             {false, false},
		"affinity/store.TestADiskThatFillsUpAndGoes":    {true, true},
		"balancing.TestPicksAllocateNothing":            {false, true},
	} {
		folder, name, _ := strings.Cut(test, ".")
		if got := [2]bool{allowed(folder, name, false), allowed(folder, name, true)}; got != want {
			t.Errorf("%s: %v, want %v", test, got, want)
		}
	}
}

// The whole program, on a module whose only test skips itself.
func TestASkippedTestFailsTheRunInCI(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module skipping\n",
		"a_test.go": "package skipping\nimport \"testing\"\nfunc TestAway(t *testing.T) { t.Skip(\"no tool\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
	for _, strict := range []bool{false, true} {
		code, err := run([]string{"./..."}, strict)
		if failed := code != 0 || err != nil; failed != strict {
			t.Errorf("strict %v: exit code %d, %v", strict, code, err)
		}
		if strict && (err == nil || !strings.Contains(err.Error(), "skipping.TestAway")) {
			t.Errorf("%v does not name the test", err)
		}
	}
}
