// Command affinity compares the session table with what one would use in its
// place, in one run: every table lives in a process of its own, so that no garbage
// collector has to look at another's entries, and the processes take turns round by
// round, so that whatever else the machine does strikes all of them.
//
//	$ go run ./bench/affinity -rounds 9
//
// Each table is filled with a million bindings. A request then looks one up and, if
// there is none, binds it: 95 of 100 ask for one of the million by Zipf's law,
// whose ranks are spread at random over the order in which they were bound, and 5
// are of a session that is new. It prints a table in Markdown.
//
// Two states of the code are compared in one run, too: lru as another build of this
// command has it joins with -builds.
//
//	$ go run ./bench/affinity -peers lru -builds before=/tmp/before
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

func main() {
	rounds := flag.Int("rounds", 9, "rounds for each table and number of goroutines")
	ops := flag.Int("ops", 1_000_000, "requests a round")
	only := flag.String("peers", strings.Join(peerNames(), ","), "tables to compare, the first one is compared with the others")
	builds := flag.String("builds", "", "other builds of this command whose lru joins, as `NAME=PROGRAM,...`")
	child := flag.String("child", "", "serve rounds of one table from standard input (internal)")
	flag.Parse()
	if err := run(*child, strings.Split(*only, ","), *builds, *rounds, *ops); err != nil {
		fmt.Fprintln(os.Stderr, "affinity:", err)
		os.Exit(1)
	}
}

func run(child string, names []string, builds string, rounds, ops int) error {
	if child != "" {
		return serveRounds(child, ops, os.Stdin, os.Stdout)
	}
	var children []*process
	defer func() {
		for _, p := range children {
			p.stop()
		}
	}()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range names {
		p, err := startProcess(name, self, name, ops)
		if err != nil {
			return err
		}
		children = append(children, p)
	}
	for build := range strings.SplitSeq(builds, ",") {
		name, program, found := strings.Cut(build, "=")
		if !found {
			continue
		}
		p, err := startProcess(name, program, "lru", ops)
		if err != nil {
			return err
		}
		children = append(children, p)
	}
	for range rounds {
		for _, workers := range []int{1, 2} {
			for _, p := range children {
				if err := p.round(workers); err != nil {
					return fmt.Errorf("%s: %w", p.name, err)
				}
			}
		}
	}
	report(os.Stdout, children)
	return nil
}

// process is a table in a process of its own.
type process struct {
	name  string
	bytes float64 // of heap for each binding, keys included
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	wall  map[int][]float64 // ns for each request, by number of goroutines
	cpu   map[int][]float64
}

// startProcess starts a program for one table, which the report calls name.
func startProcess(name, program, table string, ops int) (*process, error) {
	p := &process{name: name, wall: map[int][]float64{}, cpu: map[int][]float64{}}
	p.cmd = exec.Command(program, "-child", table, "-ops", strconv.Itoa(ops))
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	// The first line comes when the table is full.
	if _, err := fmt.Fscan(p.out, &p.bytes); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s did not start: %w", name, err)
	}
	return p, nil
}

func (p *process) round(workers int) error {
	if _, err := fmt.Fprintln(p.in, workers); err != nil {
		return err
	}
	var wall, cpu float64
	if _, err := fmt.Fscan(p.out, &wall, &cpu); err != nil {
		return err
	}
	p.wall[workers] = append(p.wall[workers], wall)
	p.cpu[workers] = append(p.cpu[workers], cpu)
	return nil
}

// stop ends the child, which ends with its input.
func (p *process) stop() {
	_ = p.in.Close() // it may have ended by itself
	_ = p.cmd.Wait()
}

func report(w io.Writer, ps []*process) {
	fmt.Fprintln(w, "| table | ns, 1 goroutine | ns, 2 goroutines | CPU ns, 1 | CPU ns, 2 | B a binding | × the first, 1 | × the first, 2 |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, p := range ps {
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.2f | %.2f |\n", p.name,
			median(p.wall[1]), median(p.wall[2]), median(p.cpu[1]), median(p.cpu[2]), p.bytes,
			ratio(p, ps[0], 1), ratio(p, ps[0], 2))
	}
}

// ratio is the median of the rounds' ratios of wall time.
func ratio(p, first *process, workers int) float64 {
	var all []float64
	for i, x := range p.wall[workers] {
		all = append(all, x/first.wall[workers][i])
	}
	return median(all)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
