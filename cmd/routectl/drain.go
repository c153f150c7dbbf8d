package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stateful-route/stateful-route/config"
)

// settlePolls is how many polls must pass after the order before a count of 0
// is believed: until every extproc knows of the drain, a new session may still
// come to the pod. With the default poll this is 2s.
const settlePolls = 4

func (c *ctl) drainCommand() *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "drain SERVICE POD", Short: "Let a pod keep its sessions and take no new one", Args: takes(2, "SERVICE", "POD"),
		Long: `Let a pod keep its sessions and take no new one.

With --wait it returns when no session is left on the pod, on any extproc, and
prints how many are left as their number changes. When --timeout passes first, or
the wait is interrupted, the pod stays draining and the exit code is 1: "pods
ready" takes the order back.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !wait && cmd.Flags().Changed("timeout") || timeout < 0 {
				return usageError{errors.New("--timeout is how long --wait waits at most")}
			}
			pod, err := c.order(cmd.Context(), args[0], args[1], "drain")
			switch {
			case err != nil:
				return err
			case wait:
				return c.awaitEmpty(cmd.Context(), pod, timeout)
			}
			return errors.Join(c.show(pod, func(w io.Writer) { orderTable(w, pod) }), pod.notSaved())
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "return when no session is left on the pod")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "with --wait: give up after this `time`, such as 10m; 0 never does")
	return cmd
}

// drained is what a drain that was waited for came to.
type drained struct {
	orderRow
	SessionsLeft int     `json:"sessions_left"`
	Waited       float64 `json:"waited_seconds"`
}

// awaitEmpty returns when no session is left on the pod, or with an error that
// says how many are.
func (c *ctl) awaitEmpty(ctx context.Context, pod orderRow, timeout time.Duration) error {
	if !c.json() {
		orderTable(c.Stdout, pod)
	}
	start := time.Now()
	bounded := ctx
	if timeout > 0 {
		var stop context.CancelFunc
		bounded, stop = context.WithTimeout(ctx, timeout)
		defer stop()
	}
	watch := podWatch{ctl: c, pod: pod.podRow, start: start, left: -1}
	err := watch.untilEmpty(bounded)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %s", c.stays(pod.podRow))
	case watch.left < 0:
		return fmt.Errorf("the sessions left cannot be counted: %w", err)
	case c.json():
		if shown := writeJSON(c.Stdout, drained{pod, watch.left, time.Since(start).Seconds()}); shown != nil {
			return shown
		}
	}
	if errors.Is(err, errDeadline) {
		err = fmt.Errorf("%s left after %v: %s", count(watch.left, "session"), timeout, c.stays(pod.podRow))
	}
	return errors.Join(err, pod.notSaved())
}

// stays says what a drain that is not waited for any more leaves behind.
func (c *ctl) stays(pod podRow) string {
	undo := "routectl pods ready " + quoted(pod.Service) + " " + quoted(pod.Name)
	if c.xdsURL != "http://"+config.DefaultXDSAdmin {
		undo += " --xds-admin " + quoted(c.xdsURL)
	}
	return fmt.Sprintf("%s of %s stays draining and takes no new session; to undo that: %s", printable(pod.Name), printable(pod.Service), undo)
}

// podWatch follows the number of sessions on a pod.
type podWatch struct {
	*ctl
	pod   podRow
	start time.Time
	left  int    // as last counted; -1 before the first count
	lost  string // why the newest count failed
}

// errDeadline means that sessions were left when the time was over.
var errDeadline = errors.New("sessions are left")

// untilEmpty counts until nothing is left. An extproc that goes away meanwhile
// is waited for, but one that never answered is an error.
func (w *podWatch) untilEmpty(ctx context.Context) error {
	for {
		began := time.Now()
		n, err := w.countSessions(ctx, w.pod.Service, w.pod.Name)
		if ctx.Err() == nil {
			if err != nil && w.left < 0 {
				return err
			}
			w.note(n, err)
			if err == nil && n == 0 && time.Since(w.start) >= settlePolls*w.Poll {
				return nil
			}
		}
		// Counting is paging: it must not become the extprocs' main work.
		if !pause(ctx, max(w.Poll, 4*time.Since(began))) {
			return errDeadline
		}
	}
}

// note prints what is new.
func (w *podWatch) note(n int, err error) {
	if err != nil {
		if w.lost != err.Error() {
			fmt.Fprintf(w.Stderr, "routectl: not counted: %v\n", err)
		}
		w.lost = err.Error()
		return
	}
	if n != w.left && !w.json() {
		fmt.Fprintf(w.Stdout, "%s left\n", count(n, "session"))
	}
	w.left, w.lost = n, ""
}

// pause reports whether d passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
