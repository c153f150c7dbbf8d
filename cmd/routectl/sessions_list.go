package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

// pageSize is the most that extproc gives in one answer.
const pageSize = 1000

// sessionList has the API's shape; all pages were read, so Next is empty.
type sessionList struct {
	Sessions []session `json:"sessions"`
	Next     string    `json:"next"`
}

func (c *ctl) sessionsListCommand() *cobra.Command {
	var service, pod string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List the sessions of every extproc, page by page", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usageError{errors.New("--limit must not be negative")}
			}
			if c.json() {
				return c.listJSON(cmd.Context(), service, pod, limit)
			}
			return c.listTable(cmd.Context(), service, pod, limit)
		},
	}
	cmd.Flags().StringVar(&service, "service", "", "only this service's `NAME`")
	cmd.Flags().StringVar(&pod, "pod", "", "only sessions on the pod of this `NAME`")
	cmd.Flags().IntVar(&limit, "limit", 0, "stop after `N` sessions; 0 lists all")
	return cmd
}

// listTable writes a table a page, so that a million sessions are not gathered
// first; only the first has a heading.
func (c *ctl) listTable(ctx context.Context, service, pod string, limit int) error {
	first := true
	return c.eachPage(ctx, service, pod, limit, func(page []session) error {
		if len(page) == 0 && !first {
			return nil
		}
		head := first
		first = false
		return writeTable(c.Stdout, func(w io.Writer) { c.sessionsTable(w, head, page) })
	})
}

// listJSON writes the API's shape as the pages come.
func (c *ctl) listJSON(ctx context.Context, service, pod string, limit int) error {
	before := "{\n  \"sessions\": ["
	err := c.eachPage(ctx, service, pod, limit, func(page []session) error {
		for _, s := range page {
			raw, err := json.Marshal(s)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(c.Stdout, "%s\n    %s", before, raw); err != nil {
				return err
			}
			before = ","
		}
		return nil
	})
	if err != nil {
		return err
	}
	if before != "," {
		return writeJSON(c.Stdout, sessionList{Sessions: []session{}})
	}
	_, err = fmt.Fprint(c.Stdout, "\n  ],\n  \"next\": \"\"\n}\n")
	return err
}

// eachPage hands on the sessions of every extproc, those that some share once, at most
// limit if that is not 0.
func (c *ctl) eachPage(ctx context.Context, service, pod string, limit int, show func([]session) error) error {
	left := limit
	for _, t := range c.targets(ctx) {
		if t.err != nil {
			return t.err
		}
		after := ""
		for {
			size := pageSize
			if limit > 0 {
				size = min(size, left)
			}
			page, err := t.sessions(ctx, service, pod, size, after)
			if err != nil {
				return c.at(t.server, err)
			}
			if err := show(page.Sessions); err != nil {
				return err
			}
			left -= len(page.Sessions)
			if limit > 0 && left == 0 {
				return nil
			}
			if after = page.Next; after == "" {
				break
			}
		}
	}
	return nil
}

// sessions reads one page.
func (s server) sessions(ctx context.Context, service, pod string, limit int, after string) (page sessionList, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, v := range map[string]string{"service": service, "pod": pod, "after": after} {
		if v != "" {
			q.Set(name, v)
		}
	}
	err = s.get(ctx, "/api/v1/sessions?"+q.Encode(), &page)
	for i := range page.Sessions {
		page.Sessions[i].Extproc = s.url
	}
	return page, err
}

// countSessions counts a pod's sessions on all extprocs.
func (c *ctl) countSessions(ctx context.Context, service, pod string) (n int, err error) {
	err = c.eachPage(ctx, service, pod, 0, func(page []session) error {
		n += len(page)
		return nil
	})
	return n, err
}
