package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// session is a session as extproc's API shows it, and which extproc that was.
type session struct {
	Service     string    `json:"service"`
	Key         string    `json:"key"`
	Pod         string    `json:"pod"`
	PreviousPod string    `json:"previous_pod"`
	Epoch       uint64    `json:"epoch"`
	Created     time.Time `json:"created,omitzero"`
	LastSeen    time.Time `json:"last_seen,omitzero"`
	Requests    uint64    `json:"requests"`
	InFlight    int       `json:"in_flight"`
	Evicted     bool      `json:"evicted,omitempty"`
	Path        string    `json:"path"`
	Extproc     string    `json:"extproc"`
}

// key shows the key's true bytes, which only Path carries: JSON cannot.
func (s session) key() string {
	if i := strings.LastIndexByte(s.Path, '/'); i >= 0 {
		if raw, err := url.PathUnescape(s.Path[i+1:]); err == nil {
			return printable(raw)
		}
	}
	return printable(s.Key)
}

// sessionPath leads to one session.
func sessionPath(service, key string) string {
	return "/api/v1/sessions/" + segment(service) + "/" + segment(key)
}

func (c *ctl) sessionsCommand() *cobra.Command {
	return group("sessions", "See, move and forget sessions",
		c.sessionsListCommand(),
		&cobra.Command{
			Use: "show SERVICE KEY", Short: "Show a session on every extproc that has it", Args: takes(2, "SERVICE", "KEY"),
			RunE: func(cmd *cobra.Command, args []string) error { return c.showSession(cmd.Context(), args[0], args[1]) },
		},
		&cobra.Command{
			Use: "move SERVICE KEY POD", Short: "Bind a session to another pod, on every extproc", Args: takes(3, "SERVICE", "KEY", "POD"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.moveSession(cmd.Context(), args[0], args[1], args[2])
			},
		},
		&cobra.Command{
			Use: "delete SERVICE KEY", Short: "Forget a session, on every extproc: its next request is placed anew", Args: takes(2, "SERVICE", "KEY"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.deleteSession(cmd.Context(), args[0], args[1])
			},
		},
		c.sessionsFlushCommand())
}

// onEvery does something on every extproc, on one of those that share a store, also when
// one of them fails. It returns the sessions that came back, and how many extprocs they are
// of. An extproc without the session is no failure as long as another one has it.
func (c *ctl) onEvery(ctx context.Context, do func(server) (session, error)) (found []session, extprocs int, err error) {
	var missing error
	var failed []error
	for _, t := range c.targets(ctx) {
		one, err := session{}, t.err
		if err == nil {
			one, err = do(t.server)
		}
		one.Extproc = t.url
		switch {
		case err == nil:
			found = append(found, one)
			extprocs += t.replicas
		case hasStatus(err, http.StatusNotFound):
			missing = err
		default:
			failed = append(failed, c.at(t.server, err))
		}
	}
	if len(found) == 0 && missing != nil {
		failed = append(failed, missing)
	}
	return found, extprocs, errors.Join(failed...)
}

// at names the server that refused, where there are several. One that could not
// be reached is named by its error.
func (c *ctl) at(s server, err error) error {
	var refused *apiError
	if len(c.extprocURLs) > 1 && errors.As(err, &refused) {
		return fmt.Errorf("%s: %w", s, err)
	}
	return err
}

// showSession prints what there is even when an extproc could not be asked.
func (c *ctl) showSession(ctx context.Context, service, key string) error {
	found, _, err := c.onEvery(ctx, func(s server) (one session, err error) {
		err = s.get(ctx, sessionPath(service, key), &one)
		return one, err
	})
	return c.showAll(found, err)
}

func (c *ctl) moveSession(ctx context.Context, service, key, pod string) error {
	moved, _, err := c.onEvery(ctx, func(s server) (one session, err error) {
		err = s.call(ctx, http.MethodPut, sessionPath(service, key), map[string]string{"pod": pod}, &one)
		return one, err
	})
	return c.showAll(moved, err)
}

// replicated is one session: the record last seen, and all of them where several
// extprocs have one.
type replicated struct {
	session
	Replicas []session `json:"replicas,omitempty"`
}

func (c *ctl) showAll(found []session, failed error) error {
	if len(found) == 0 {
		return failed
	}
	out := replicated{session: slices.MaxFunc(found, func(a, b session) int { return a.LastSeen.Compare(b.LastSeen) })}
	if len(found) > 1 {
		out.Replicas = found
	}
	return errors.Join(c.show(out, func(w io.Writer) { c.sessionsTable(w, true, found) }), failed)
}

func (c *ctl) deleteSession(ctx context.Context, service, key string) error {
	_, deleted, err := c.onEvery(ctx, func(s server) (session, error) {
		return session{}, s.call(ctx, http.MethodDelete, sessionPath(service, key), nil, nil)
	})
	if deleted == 0 {
		return err
	}
	out := struct {
		Service string `json:"service"`
		Key     string `json:"key"`
		Deleted int    `json:"deleted"` // how many extprocs had it
	}{service, key, deleted}
	return errors.Join(c.show(out, func(w io.Writer) {
		row(w, "forgotten by "+count(deleted, "extproc"))
	}), err)
}

// sessionsTable names the extproc where there are several.
func (c *ctl) sessionsTable(w io.Writer, head bool, sessions []session) {
	columns := 9
	if len(c.extprocURLs) > 1 {
		columns = 10
	}
	if head {
		row(w, []any{"SERVICE", "KEY", "POD", "PREVIOUS POD", "EPOCH", "CREATED", "LAST SEEN", "REQUESTS", "IN FLIGHT", "EXTPROC"}[:columns]...)
	}
	now := time.Now()
	for _, s := range sessions {
		cells := []any{s.Service, s.key(), s.Pod, s.PreviousPod, s.Epoch, since(now, s.Created) + " ago", since(now, s.LastSeen) + " ago", s.Requests, s.InFlight, s.Extproc}
		if s.Evicted {
			cells[4], cells[5], cells[6] = "", "evicted", "evicted"
		}
		row(w, cells[:columns]...)
	}
}
