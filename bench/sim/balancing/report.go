package simulate

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/stateful-route/stateful-route/balancing"
)

// WriteTable writes comparisons as Markdown tables, one for each setting.
func WriteTable(w io.Writer, comparisons []Comparison) error {
	for _, c := range comparisons {
		_, err := fmt.Fprintf(w, "\n**%s** — ideal: p50 %s, p99 %s, p99.9 %s ms\n\n"+
			"| policy | p50 ms | p99 ms | p99.9 ms | p99 ÷ ideal | p99.9 ÷ ideal | new p99 ÷ ideal | errors %% | max/mean load | sessions broken %% | away from home %% |\n"+
			"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
			c.Setting.Name(), ms(c.Ideal.P50), ms(c.Ideal.P99), ms(c.Ideal.P999))
		if err != nil {
			return fmt.Errorf("table: %w", err)
		}
		for _, r := range c.Results {
			if err := writeRow(w, c, r); err != nil {
				return fmt.Errorf("table: %w", err)
			}
		}
	}
	return nil
}

func writeRow(w io.Writer, c Comparison, r Result) error {
	_, p99, p999 := c.Ratios(r)
	away, fresh := "–", "–"
	if c.Setting.Sticky {
		fresh = ratio(c.NewRatio(r))
	}
	if traits, _ := balancing.NewRegistry().Traits(r.Policy); c.Setting.Sticky && traits.Homes {
		away = fmt.Sprintf("%.1f", 100*r.Away)
	}
	_, err := fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s | %.3f | %.2f | %.2f | %s |\n",
		r.Policy, ms(r.P50), ms(r.P99), ms(r.P999), ratio(p99), ratio(p999), fresh, 100*r.Errors, r.MaxOverMean, 100*r.Broken, away)
	return err
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }

func ratio(x float64) string {
	if x >= 10 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// WriteCSV writes one line for each setting and policy, the ideal included.
func WriteCSV(w io.Writer, comparisons []Comparison) error {
	out := csv.NewWriter(w)
	rows := [][]string{{
		"sticky", "load", "replicas", "pods", "mixed", "fault", "policy", "requests", "p50_ms", "p99_ms", "p999_ms",
		"p50_ratio", "p99_ratio", "p999_ratio", "new_p99_ratio", "errors", "max_over_mean", "broken", "away", "weight_pushes", "weight_spread",
	}}
	for _, c := range comparisons {
		for _, r := range append([]Result{c.Ideal}, c.Results...) {
			rows = append(rows, csvRow(c, r))
		}
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("CSV: %w", err)
	}
	return nil
}

func csvRow(c Comparison, r Result) []string {
	s := c.Setting
	number := func(x float64) string { return strconv.FormatFloat(x, 'f', 4, 64) }
	p50, p99, p999 := c.Ratios(r)
	return []string{
		strconv.FormatBool(s.Sticky), number(s.Load), strconv.Itoa(s.Replicas), strconv.Itoa(s.Pods), strconv.FormatBool(s.Mixed), string(s.Fault),
		r.Policy, strconv.Itoa(r.Requests), ms(r.P50), ms(r.P99), ms(r.P999), number(p50), number(p99), number(p999), number(c.NewRatio(r)),
		number(r.Errors), number(r.MaxOverMean), number(r.Broken), number(r.Away), strconv.Itoa(r.WeightPushes), number(r.WeightSpread),
	}
}
