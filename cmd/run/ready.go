package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// pollInterval is the pause between two looks at something not ready yet.
const pollInterval = 50 * time.Millisecond

// waitReady returns when a request was served through Envoy and extproc.
func (p *plan) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.readyWithin)
	defer cancel()
	// Envoy may let requests pass before extproc is ready, so the order matters.
	svc := p.xds.Services[0]
	for _, step := range []struct{ what, url, host string }{
		{"xds-server", url(p.xds.Admin, "/readyz"), ""},
		{"extproc", url(p.extproc.Admin, "/readyz"), ""},
		{"a request through Envoy", p.front(), anyHost(svc.Hosts[0])},
	} {
		if err := waitOK(ctx, step.url, step.host); err != nil {
			return fmt.Errorf("%s is not ready after %v: %w", step.what, p.readyWithin, err)
		}
	}
	return nil
}

// anyHost is a host name that the pattern matches; empty means any will do.
func anyHost(pattern string) string {
	if pattern == "*" {
		return ""
	}
	return strings.Replace(pattern, "*.", "www.", 1)
}

// waitOK asks until the answer is 200, and else returns the last reason it was not.
func waitOK(ctx context.Context, url, host string) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := getOK(ctx, url, host)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func getOK(ctx context.Context, url, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Host = host
	// Envoy's certificate is for names, and it is asked by its address: that it answers
	// is all that is asked.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 200))
	if err != nil {
		return err
	}
	return fmt.Errorf("%s answered %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
}
