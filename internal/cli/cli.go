// Package cli is what the servers' command lines have in common: the flags of
// the contract, a zap logger, and a context that ends with SIGINT or SIGTERM.
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
	"go.uber.org/zap/zapcore"
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
}

// Main parses args, runs the program and returns its exit code: 0 when it
// ended as asked, 1 when it failed, 2 for wrong usage. What was asked for goes to
// stdout, everything else to stderr.
func Main(name string, args []string, stdout, stderr io.Writer, p Program) int {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "envoy/"+name+".yaml", "configuration `FILE`")
	check := flags.Bool("check", false, "validate the configuration and exit")
	level := flags.String("log-level", "info", "debug, info, warn or error")
	version := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	switch {
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "%s: unexpected argument %q\n", name, flags.Arg(0))
		return 2
	case *version:
		fmt.Fprintln(stdout, name, Version())
		return 0
	case *check:
		return report(stderr, name, p.Check(*file))
	}
	logger, err := newLogger(*level, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return report(stderr, name, p.Run(ctx, Process{ConfigFile: *file, Version: Version(), Logger: logger.Named(name)}))
}

func report(stderr io.Writer, name string, err error) int {
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

func newLogger(level string, out io.Writer) (*zap.Logger, error) {
	parsed, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(encoding), zapcore.Lock(zapcore.AddSync(out)), parsed)
	return zap.New(core), nil
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
