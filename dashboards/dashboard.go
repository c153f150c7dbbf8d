// Package dashboards holds what is laid over the metrics of Stateful Route: a
// Grafana dashboard, built here and written to stateful-route.json by
//
//	go generate ./dashboards
//
// and, in rules.yml, Prometheus recording and alert rules with a page of
// instructions for each alert in runbooks/. A test reads every query of both and
// fails on a metric that the programs do not serve, so that a renamed metric
// cannot leave an empty panel or a silent alert behind.
package dashboards

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

//go:generate go run ./generate stateful-route.json

// Build returns the dashboard. Its variables are the data source and the
// services to show.
func Build() (dashboard.Dashboard, error) {
	builder := dashboard.NewDashboardBuilder("Stateful Route").
		Uid("stateful-route").
		Description("Sessions, pods and the processes that bind the two.").
		Tags([]string{"stateful-route"}).
		Refresh("10s").
		Time("now-30m", "now").
		Readonly().
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(dashboard.NewQueryVariableBuilder("service").Label("Service").
			Datasource(source()).
			Query(dashboard.StringOrMap{String: cog.ToPtr("label_values(stateful_route_requests_total, service)")}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
			Multi(true).IncludeAll(true).AllValue(".*"))
	id := uint32(0)
	for _, row := range rows() {
		id++
		builder.WithRow(dashboard.NewRowBuilder(row.title).Id(id))
		for _, p := range row.panels {
			id++
			builder.WithPanel(p.build(id))
		}
	}
	built, err := builder.Build()
	if err != nil {
		return dashboard.Dashboard{}, fmt.Errorf("dashboards: build: %w", err)
	}
	return built, nil
}

// Queries returns every query of the dashboard for one service as Prometheus
// would get it, with rates over five minutes.
func Queries(service string) []string {
	fill := strings.NewReplacer("$service", service, "$__rate_interval", "5m")
	var queries []string
	for _, row := range rows() {
		for _, p := range row.panels {
			for _, q := range p.queries {
				queries = append(queries, fill.Replace(q.expr))
			}
		}
	}
	return queries
}

type row struct {
	title  string
	panels []panel
}

// panel is a chart, or a single figure when single is set.
type panel struct {
	title, about string
	unit         string
	single       bool
	queries      []query
}

type query struct{ legend, expr string }

// The units that the panels use, as Grafana names them.
const (
	perSecond = "reqps"
	duration  = "s"
	ratio     = "percentunit"
	short     = "short"
	byteCount = "bytes"
)

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

func (p panel) build(id uint32) cog.Builder[dashboard.Panel] {
	if p.single {
		figure := stat.NewPanelBuilder().Id(id).Title(p.title).Description(p.about).Datasource(source()).
			Unit(p.unit).Height(4).Span(4).NoValue("–").
			GraphMode(common.BigValueGraphModeArea)
		for i, q := range p.queries {
			figure.WithTarget(q.build(i))
		}
		return figure
	}
	chart := timeseries.NewPanelBuilder().Id(id).Title(p.title).Description(p.about).Datasource(source()).
		Unit(p.unit).Min(0).Height(8).Span(8).FillOpacity(8).
		ShowPoints(common.VisibilityModeNever).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti))
	for i, q := range p.queries {
		chart.WithTarget(q.build(i))
	}
	return chart
}

func (q query) build(i int) cog.Builder[variants.Dataquery] {
	return prometheus.NewDataqueryBuilder().Expr(q.expr).LegendFormat(q.legend).
		RefId(string(rune('A' + i))).Datasource(source()).Range()
}
