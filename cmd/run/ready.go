package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// pollInterval is the pause between two looks at something not ready yet.
const pollInterval = 50 * time.Millisecond

// waitReady returns when a request was served through Envoy and extproc.
func (p *plan) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.readyWithin)
	defer cancel()
	// Envoy lets requests pass before extproc is ready, and before it sees that it is, so
	// the order matters.
	svc := p.xds.Services[0]
	steps := []step{{what: "xds-server", url: url(p.xds.Admin, "/readyz")}}
	for _, r := range p.replicas {
		steps = append(steps, step{what: r.name, url: url(r.admin, "/readyz")})
	}
	steps = append(steps,
		step{what: "Envoy", url: url(p.envoyAdmin, "/stats?filter="+askedStat), good: atLeast(len(p.replicas))},
		step{what: "a request through Envoy", url: p.front(), host: anyHost(svc.Hosts[0])},
		step{what: "Envoy's answer to its listeners", url: url(p.xds.Admin, "/api/v1/envoys"), good: p.knowsPath})
	for _, step := range steps {
		if err := step.wait(ctx); err != nil {
			return fmt.Errorf("%s is not ready after %v: %w", step.what, p.readyWithin, err)
		}
	}
	return nil
}

// askedStat is how many extprocs Envoy asks.
const askedStat = "cluster.stateful-route-extproc.membership_healthy"

// step is something to wait for.
type step struct {
	what, url string
	host      string                   // to ask for, where it is not the URL's
	good      func(answer string) bool // nil: any answer is
}

// atLeast takes "NAME: NUMBER".
func atLeast(n int) func(string) bool {
	return func(stat string) bool {
		_, number, _ := strings.Cut(stat, ": ")
		found, err := strconv.Atoi(strings.TrimSpace(number))
		return err == nil && found >= n
	}
}

// anyHost is a host name that the pattern matches; empty means any will do.
func anyHost(pattern string) string {
	if pattern == "*" {
		return ""
	}
	return strings.Replace(pattern, "*.", "www.", 1)
}

// wait asks until the answer is 200, and else returns the last reason it was not.
func (s step) wait(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := s.ask(ctx)
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

func (s step) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	req.Host = s.host
	// Envoy's certificate is for names, and it is asked by its address: that it answers
	// is all that is asked.
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK && (s.good == nil || s.good(string(body))) {
		return nil
	}
	return fmt.Errorf("%s answered %s: %s", s.url, resp.Status, strings.TrimSpace(string(body[:min(len(body), 200)])))
}
