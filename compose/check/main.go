// Command check asks a set-up that docker-compose.yaml brought up whether it does
// what it is for: two extprocs share their sessions, these hold, also over a restart of
// an extproc and of the store, Envoy answers for known ones itself, and Prometheus and Grafana see it. compose-test runs it.
//
//	check -- docker-compose restart
//
// The command, followed by a container's name, restarts it; requests go on while it runs. Exits 0 when everything
// held, else 1.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// patience bounds the wait for what takes effect a little later: a scrape, a
// process that is ready again.
const patience = time.Minute

// target is where the parts are published.
type target struct {
	envoy, prometheus, grafana string
	extprocs                   [2]string // admin ports
	client                     *http.Client
}

func main() {
	var at target
	flag.StringVar(&at.envoy, "envoy", "http://127.0.0.1:10000", "`URL` of Envoy's listener")
	flag.StringVar(&at.extprocs[0], "extproc-0", "http://127.0.0.1:18081", "`URL` of the first extproc's admin port")
	flag.StringVar(&at.extprocs[1], "extproc-1", "http://127.0.0.1:18082", "`URL` of the second one's")
	flag.StringVar(&at.prometheus, "prometheus", "http://127.0.0.1:9090", "`URL` of Prometheus")
	flag.StringVar(&at.grafana, "grafana", "http://127.0.0.1:3000", "`URL` of Grafana")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	at.client = &http.Client{Timeout: 5 * time.Second}
	err := at.check(ctx, command(flag.Args()))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "check: FAIL:", err)
		os.Exit(1)
	}
}

// command returns what restarts a container.
func command(args []string) func(ctx context.Context, container string) error {
	return func(ctx context.Context, container string) error {
		if len(args) == 0 {
			return nil
		}
		out, err := exec.CommandContext(ctx, args[0], append(slices.Clone(args[1:]), container)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
}

func (at target) check(ctx context.Context, restart func(ctx context.Context, container string) error) error {
	if err := at.replicasShare(ctx); err != nil {
		return fmt.Errorf("replicas: %w", err)
	}
	pods, err := at.sessionsHold(ctx)
	if err != nil {
		return err
	}
	if err := at.envoyAnswers(ctx); err != nil {
		return fmt.Errorf("the fast path: %w", err)
	}
	if err := at.moveOne(ctx, pods); err != nil {
		return fmt.Errorf("move a session: %w", err)
	}
	for _, container := range []string{"extproc-0", "valkey"} {
		if err := at.holdOver(ctx, pods, container, restart); err != nil {
			return fmt.Errorf("restart of %s: %w", container, err)
		}
		if err := at.replicasShare(ctx); err != nil {
			return fmt.Errorf("replicas after the restart of %s: %w", container, err)
		}
	}
	if err := at.prometheusSees(ctx); err != nil {
		return fmt.Errorf("prometheus: %w", err)
	}
	if err := at.grafanaShows(ctx); err != nil {
		return fmt.Errorf("grafana: %w", err)
	}
	return nil
}

func report(format string, args ...any) { fmt.Printf("check: "+format+"\n", args...) }

// eventually calls f until it succeeds, for as long as patience lasts.
func eventually(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("still after %v: %w", patience, err)
		case <-tick.C:
		}
	}
}
