package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/stateful-route/stateful-route/dashboards"
)

// prometheusSees awaits that every target is up and every rule evaluates.
func (at target) prometheusSees(ctx context.Context) error {
	var jobs []string
	err := eventually(ctx, func() (err error) { jobs, err = at.targetsUp(ctx); return err })
	if err != nil {
		return err
	}
	report("Prometheus' targets are up: %s", strings.Join(jobs, ", "))
	var rules int
	err = eventually(ctx, func() (err error) { rules, err = at.rulesEvaluate(ctx); return err })
	if err != nil {
		return err
	}
	report("Prometheus evaluates %d rules", rules)
	return at.durationsKnown(ctx)
}

// durationsKnown awaits data for what reads histograms: the panels of a 99th
// percentile, and the recorded means by pod. A Prometheus that keeps native
// histograms alone evaluates all of them without an error, and to nothing.
func (at target) durationsKnown(ctx context.Context) error {
	queries := []string{"service_pod:stateful_route_request_duration_seconds:mean5m", "service:stateful_route_request_duration_seconds:p99_5m"}
	for _, q := range dashboards.Queries("chat") {
		if strings.HasPrefix(q, "histogram_quantile(0.99,") && strings.Contains(q, "stateful_route_request_duration_seconds_bucket") {
			queries = append(queries, q)
		}
	}
	for i, q := range queries {
		err := eventually(ctx, func() error {
			// A rate takes what happens between two scrapes.
			if _, err := at.visit(ctx, fmt.Sprintf("measured-%d", i)); err != nil {
				return err
			}
			return at.hasNumber(ctx, q)
		})
		if err != nil {
			return err
		}
	}
	report("Prometheus has data for %d queries of response times", len(queries))
	return nil
}

// hasNumber returns an error unless the query has a result that is a number.
func (at target) hasNumber(ctx context.Context, query string) error {
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := at.get(ctx, at.prometheus+"/api/v1/query?query="+url.QueryEscape(query), &answer); err != nil {
		return err
	}
	for _, r := range answer.Data.Result {
		if r.Value[1] != "NaN" {
			return nil
		}
	}
	return fmt.Errorf("no data for %s", query)
}

// targetsUp returns the jobs, or which target is not up.
func (at target) targetsUp(ctx context.Context) ([]string, error) {
	var answer struct {
		Data struct {
			ActiveTargets []struct {
				Labels            struct{ Job string }
				Health, LastError string
			}
		}
	}
	if err := at.get(ctx, at.prometheus+"/api/v1/targets?state=active", &answer); err != nil {
		return nil, err
	}
	var jobs []string
	for _, t := range answer.Data.ActiveTargets {
		if t.Health != "up" {
			return nil, fmt.Errorf("%s is %s: %s", t.Labels.Job, t.Health, t.LastError)
		}
		jobs = append(jobs, t.Labels.Job)
	}
	slices.Sort(jobs)
	if want := []string{"envoy", "extproc", "extproc", "prometheus", "xds-server"}; !slices.Equal(jobs, want) {
		return nil, fmt.Errorf("targets are %v, want %v", jobs, want)
	}
	return jobs, nil
}

// rulesEvaluate counts the rules, or says which one does not work.
func (at target) rulesEvaluate(ctx context.Context) (int, error) {
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := at.get(ctx, at.prometheus+"/api/v1/rules", &answer); err != nil {
		return 0, err
	}
	n := 0
	for _, group := range answer.Data.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				return 0, fmt.Errorf("rule %s is %s: %s", rule.Name, rule.Health, rule.LastError)
			}
			n++
		}
	}
	if n == 0 {
		return 0, errors.New("no rules")
	}
	return n, nil
}

// grafanaShows checks that the dashboard is there, and that what was requested of
// Envoy is counted where Grafana looks: its data source is asked, through Grafana.
func (at target) grafanaShows(ctx context.Context) error {
	var health struct{ Database, Version string }
	if err := at.get(ctx, at.grafana+"/api/health", &health); err != nil {
		return err
	}
	if health.Database != "ok" {
		return fmt.Errorf("health: %+v", health)
	}
	var shown struct {
		Dashboard struct {
			Title  string
			Panels []struct{}
		}
	}
	if err := at.get(ctx, at.grafana+"/api/dashboards/uid/stateful-route", &shown); err != nil {
		return err
	}
	var counted string
	err := eventually(ctx, func() (err error) { counted, err = at.counted(ctx); return err })
	if err != nil {
		return err
	}
	report("Grafana (version %s) answers, has the dashboard %q of %d panels, and through it Prometheus says: %s pods served requests",
		health.Version, shown.Dashboard.Title, len(shown.Dashboard.Panels), counted)
	return nil
}

// counted asks how many pods served requests.
func (at target) counted(ctx context.Context) (string, error) {
	const query = `count(count by (pod) (stateful_route_requests_total{service="chat", pod=~"chat-[0-9]"} > 0))`
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := at.get(ctx, at.grafana+"/api/datasources/proxy/uid/prometheus/api/v1/query?query="+url.QueryEscape(query), &answer); err != nil {
		return "", err
	}
	if len(answer.Data.Result) != 1 || answer.Data.Result[0].Value[1] != "3" {
		return "", fmt.Errorf("pods that served requests: %v, want 3", answer.Data.Result)
	}
	return "3", nil
}
