package main

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

func (c *ctl) reportCommand() *cobra.Command {
	var service string
	cmd := &cobra.Command{
		Use: "report", Short: "Show what the analyzer found: issues, suggestions, statistics", Args: takes(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if service != "" {
				q.Set("service", service)
			}
			if !c.json() {
				q.Set("format", "text")
			}
			raw, err := c.xds().ask(cmd.Context(), "GET", "/api/v1/report?"+q.Encode(), nil)
			if err != nil {
				return err
			}
			_, err = c.Stdout.Write(raw)
			return err
		},
	}
	cmd.Flags().StringVar(&service, "service", "", "only this service's `NAME`")
	return cmd
}

// report is the whole report.
func (c *ctl) report(ctx context.Context) (r analysis.Report, err error) {
	err = c.xds().get(ctx, "/api/v1/report", &r)
	return r, err
}
