package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/stateful-route/stateful-route/internal/gcpace"
)

func (a *App) listen(ctx context.Context) (err error) {
	if a.grpcListener, err = listen(ctx, a.opts.Config.Listen); err != nil {
		return err
	}
	a.adminListener, err = listen(ctx, a.opts.Config.Admin)
	return err
}

// listen takes a TCP address or "unix:PATH".
func listen(ctx context.Context, address string) (net.Listener, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
		if err := removeStaleSocket(path); err != nil {
			return nil, err
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// removeStaleSocket removes the socket of a process that was killed, but
// neither another kind of file nor the socket of one that still answers.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("listen on unix:%s: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("listen on unix:%s: the path is there and is not a socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("listen on unix:%s: %w", path, syscall.EADDRINUSE)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	return nil
}

// leaseWithin is how long callouts wait, after the start, for a lease of the store that
// replicas share: less than Envoy does, which may ask as soon as the address is taken.
const leaseWithin = 150 * time.Millisecond

func (a *App) serveGRPC(ctx context.Context) error {
	if a.shared != nil { // else a session that its service denies without a lease would be refused
		timer := time.NewTimer(leaseWithin)
		defer timer.Stop()
		select {
		case <-a.shared.table.Opened():
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	// A process told to stop at once may be stopped before it serves.
	if err := a.grpc.Serve(a.guard.Listener(a.grpcListener)); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve Envoy: %w", err)
	}
	return nil
}

// sweep removes expired bindings now and then.
func (a *App) sweep(ctx context.Context) error {
	for {
		timer := time.NewTimer(a.reload.cleanupInterval())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case now := <-timer.C:
			a.table.Expire(now)
		}
	}
}

// heapRoom is by how much the heap grows at least between two collections, in bytes.
const heapRoom = 32 << 20

// everySecond keeps the balancers' and the gauges' session counts true, and sessions in use
// from looking idle to the next process, should this one be killed.
func (a *App) everySecond(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	pace := gcpace.New(heapRoom)
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			a.harvest(now)
			a.directory.CountSessions(a.podSessions(), a.reportedSessions())
			a.table.Renew(now)
			pace.Tick()
		}
	}
}
