package analysis

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText renders the report for a terminal.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Report of %s\n%s\n", r.Time.UTC().Format(time.RFC3339), printable(r.Summary))
	r.writeIssues(&b)
	r.writeSuggestions(&b)
	if len(r.Changes) > 0 {
		b.WriteString("\nChanges\n")
	}
	for _, c := range r.Changes {
		fmt.Fprintf(&b, "  %s\n", printable(c.Message))
	}
	r.Statistics.writeTable(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("analysis: write report: %w", err)
	}
	return nil
}

func (r Report) writeIssues(b *strings.Builder) {
	if len(r.Issues) > 0 {
		b.WriteString("\nIssues\n")
	}
	for _, i := range r.Issues {
		fmt.Fprintf(b, "  [%s] %s, since %s UTC\n      %s\n", strings.ToUpper(i.Severity.String()), printable(i.Rule),
			i.Since.UTC().Format(time.TimeOnly), printable(i.Message))
	}
}

func (r Report) writeSuggestions(b *strings.Builder) {
	if len(r.Suggestions) > 0 {
		b.WriteString("\nSuggestions\n")
	}
	for n, s := range r.Suggestions {
		fmt.Fprintf(b, "  %d. %s\n", n+1, printable(s.Suggestion))
		if s.Impact != "" || s.Effort != "" {
			fmt.Fprintf(b, "     impact %s; effort %s\n", orDash(printable(s.Impact)), orDash(printable(s.Effort)))
		}
	}
}

func (s Statistics) writeTable(b *strings.Builder) {
	if len(s.Services)+len(s.Processes) == 0 {
		return
	}
	fmt.Fprintf(b, "\nAverages over %v (%s)\n", time.Duration(s.PeriodSeconds*float64(time.Second)).Round(time.Second), count(s.Samples, "sample"))
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  \t"+strings.Join(columns(), "\t"))
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		service := s.Services[name]
		writeRow(table, name, service.Averages)
		for _, pod := range slices.Sorted(maps.Keys(service.Pods)) {
			writeRow(table, "  "+pod, service.Pods[pod])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Processes)) {
		writeRow(table, name, s.Processes[name])
	}
	_ = table.Flush() // into a strings.Builder, which does not fail
}

// columns are the headings of a row.
func columns() []string {
	var out []string
	for i := range metricTable {
		out = append(out, metricTable[i].column)
		if metricTable[i].name == ResponseTime {
			out = append(out, "p50", "p95", "p99")
		}
	}
	return out
}

func writeRow(w io.Writer, name string, a Averages) {
	cells := []string{"  " + printable(name)}
	for i := range metricTable {
		m := &metricTable[i]
		average := a.of(m.name)
		switch {
		case average == nil && m.name == ResponseTime:
			cells = append(cells, "-", "-", "-", "-")
		case average == nil:
			cells = append(cells, "-")
		case average.Times != nil:
			t := average.Times
			cells = append(cells, seconds(t.Average), seconds(t.P50), seconds(t.P95), seconds(t.P99))
		default:
			cells = append(cells, m.unit(average.Value))
		}
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// printable keeps what a name could do to a terminal out of the text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
