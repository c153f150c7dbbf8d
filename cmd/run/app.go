package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/stateful-route/stateful-route/internal/envoybin"
	"github.com/stateful-route/stateful-route/internal/extensions"
)

// options are the flags.
type options struct {
	xdsConfig, extprocConfig string
	envoyAdmin               string
	bin                      string
	concurrency              int
	count                    int // of extprocs
	readyWithin              time.Duration
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&o.xdsConfig, "xds-config", "envoy/xds-server.yaml", "configuration of xds-server; also says where Envoy and the pods listen")
	flags.StringVar(&o.extprocConfig, "extproc-config", "envoy/extproc.yaml", "configuration of extproc")
	flags.StringVar(&o.envoyAdmin, "envoy-admin", "127.0.0.1:9901", "address of Envoy's own admin interface")
	flags.StringVar(&o.bin, "bin", "", "folder of the programs to run (default: where this one is)")
	flags.IntVar(&o.concurrency, "concurrency", 2, "Envoy's worker threads")
	flags.IntVar(&o.count, "replicas", 1, "how many extprocs; several share their sessions by a valkey-server or redis-server, which is started, too")
	flags.DurationVar(&o.readyWithin, "ready-within", time.Minute, "give up when no request is served within this time")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.bin == "" {
		self, err := os.Executable()
		if err != nil {
			return o, err
		}
		o.bin = filepath.Dir(self)
	}
	return o, nil
}

// run runs the demonstration until ctx ends or one of its processes does.
func run(ctx context.Context, args []string, out io.Writer, known extensions.Set) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	p, err := newPlan(o, known.Config()...)
	if err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	bin, err := envoybin.Find(ctx, envoybin.FindOptions{Log: out})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "stateful-route-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shared, err := sharedFolder()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(shared) }()
	if err := p.addFastPath(shared); err != nil {
		return err
	}
	specs, err := p.programs(dir, bin)
	if err != nil {
		return err
	}
	return supervise(ctx, specs, out, func(ctx context.Context) error {
		if err := p.waitReady(ctx); err != nil {
			return err
		}
		p.describe(out, bin)
		return nil
	})
}

// supervise starts the programs in order and stops them in reverse when
// parent ends, when one of them ends by itself, or when ready fails.
func supervise(parent context.Context, specs []spec, out io.Writer, ready func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	g := newGroup(out, cancel)
	defer g.stop()
	for _, s := range specs {
		if err := g.start(s); err != nil {
			return err
		}
	}
	if err := ready(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	if parent.Err() == nil {
		return context.Cause(ctx)
	}
	g.out.line("run", "stopping")
	return nil
}
