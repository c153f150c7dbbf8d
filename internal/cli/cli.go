// Package cli is what the servers' command lines have in common: their
// flags, a zap logger, and a context that ends with SIGINT or SIGTERM.
//
//	func main() { os.Exit(cli.Main("extproc", os.Args[1:], os.Stdout, os.Stderr, cli.Program{Check: check, Run: run})) }
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"runtime/debug"
	"syscall"

	"go.uber.org/zap"
)

// Program is one server.
type Program struct {
	// Check validates a configuration file.
	Check func(file string) error
	// Run serves until ctx ends.
	Run func(ctx context.Context, p Process) error
}

// Process is what a running program is given.
type Process struct {
	ConfigFile string
	Version    string
	Logger     *zap.Logger
	// LogLinesDropped counts the log lines that nobody read in time.
	LogLinesDropped func() uint64
}

// Main parses args, runs the program and returns its exit code: 0 when it
// ended as asked, 1 when it failed, 2 for wrong usage. What was asked for goes to
// stdout, everything else to stderr, whose reader holds nothing up: see lossy.
func Main(name string, args []string, stdout, stderr io.Writer, p Program) int {
	// A reader of stderr that goes away must not end the process.
	signal.Ignore(syscall.SIGPIPE)
	out := newLossy(stderr, logBuffer, func(lost uint64) []byte { return lostLines(name, lost) })
	code, err := run(name, args, stdout, out, p)
	if err != nil {
		// The last word finds room if anybody reads at all; nobody can be told that
		// nobody does.
		_ = out.Sync()
		fmt.Fprintf(out, "%s: %v\n", name, err)
	}
	_ = out.close()
	return code
}

// run returns the exit code and what there is to say of it.
func run(name string, args []string, stdout io.Writer, out *lossy, p Program) (code int, err error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(out)
	file := flags.String("config", "envoy/"+name+".yaml", "configuration `FILE`")
	check := flags.Bool("check", false, "validate the configuration and exit")
	level := flags.String("log-level", "info", "debug, info, warn or error")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0, nil
		}
		return 2, nil // flags has said it
	}
	switch {
	case flags.NArg() > 0:
		return 2, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *version:
		fmt.Fprintln(stdout, name, Version())
		return 0, nil
	case *check:
		return exit(p.Check(*file))
	}
	logger, err := newLogger(*level, out)
	if err != nil {
		return 2, err
	}
	logger = logger.Named(name)
	restore, err := captureLogs(logger)
	if err != nil {
		return 2, err
	}
	defer restore()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return exit(p.Run(ctx, Process{ConfigFile: *file, Version: Version(), Logger: logger, LogLinesDropped: out.Dropped}))
}

func exit(err error) (int, error) {
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// version is set by the Makefile with -ldflags.
var version string

// Version returns the version the binary was built as.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
