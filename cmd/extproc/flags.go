package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/stateful-route/stateful-route/config"
)

// flags is the command line.
type flags struct {
	config   string
	check    bool
	version  bool
	logLevel zapcore.Level
}

func parseFlags(args []string, stderr io.Writer) (flags, error) {
	f := flags{logLevel: zapcore.InfoLevel}
	set := flag.NewFlagSet("extproc", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&f.config, "config", "envoy/extproc.yaml", "configuration `FILE`; reloaded when it changes")
	set.BoolVar(&f.check, "check", false, "check the configuration and exit")
	set.BoolVar(&f.version, "version", false, "print the version and exit")
	set.TextVar(&f.logLevel, "log-level", zapcore.InfoLevel, "`LEVEL`: debug, info, warn or error")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	return f, nil
}

// run does what the command line says and returns the exit code: 0 for success,
// 1 for a failure, 2 for a wrong command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "extproc:", err)
		return 2
	case f.version:
		fmt.Fprintln(stdout, "extproc", version)
		return 0
	}
	if err := start(ctx, f, stdout); err != nil {
		fmt.Fprintln(stderr, "extproc:", err)
		return 1
	}
	return 0
}

func start(ctx context.Context, f flags, stdout io.Writer) error {
	cfg, err := config.LoadExtproc(f.config)
	if err != nil {
		return err
	}
	if f.check {
		fmt.Fprintln(stdout, f.config, "is valid")
		return nil
	}
	log, err := newLogger(f.logLevel)
	if err != nil {
		return err
	}
	defer log.Sync() // standard error cannot be synced everywhere: no reason to fail
	a, err := New(ctx, Options{ConfigFile: f.config, Config: *cfg, Log: log, Version: version})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// newLogger writes JSON lines to standard error, thinned out when one message
// repeats hundreds of times a second.
func newLogger(level zapcore.Level) (*zap.Logger, error) {
	c := zap.NewProductionConfig()
	c.Level = zap.NewAtomicLevelAt(level)
	c.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	c.EncoderConfig.EncodeDuration = zapcore.StringDurationEncoder
	c.DisableStacktrace = true
	log, err := c.Build()
	if err != nil {
		return nil, fmt.Errorf("logger: %w", err)
	}
	return log, nil
}
