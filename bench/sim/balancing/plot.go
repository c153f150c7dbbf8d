package simulate

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// The plot's measures, in pixels.
const (
	panelWidth, panelHeight = 460, 400
	marginLeft, marginTop   = 60, 40
	legendWidth             = 190
)

// WritePlot writes an SVG with two panels, per request and sticky: each policy's
// p99 over the ideal's by load, for one replica, mixed pods and no fault.
func WritePlot(w io.Writer, comparisons []Comparison) error {
	var b strings.Builder
	width := 2*panelWidth + legendWidth
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, panelHeight+40)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, panelHeight+40)
	for i, sticky := range []bool{false, true} {
		var panel []Comparison
		for _, c := range comparisons {
			s := c.Setting
			if s.Sticky == sticky && s.Mixed && s.Replicas == 1 && s.Fault == Sound {
				panel = append(panel, c)
			}
		}
		title := "Each request placed"
		if sticky {
			title = "New sessions placed"
		}
		drawPanel(&b, i*panelWidth, title, panel)
	}
	drawLegend(&b, 2*panelWidth, comparisons)
	b.WriteString("</svg>\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return nil
}

// highest is the top of the logarithmic axis; what is above is drawn at the top.
const highest = 1000

func drawPanel(b *strings.Builder, left int, title string, panel []Comparison) {
	x := func(load float64) float64 {
		return float64(left+marginLeft) + (load-.55)/.40*(panelWidth-marginLeft-20)
	}
	y := func(ratio float64) float64 {
		return marginTop + (1-math.Log(min(max(ratio, 1), highest))/math.Log(highest))*(panelHeight-marginTop)
	}
	fmt.Fprintf(b, `<text x="%d" y="20" font-size="14">%s: p99 ÷ ideal, by load</text>`+"\n", left+marginLeft, html.EscapeString(title))
	for _, r := range []float64{1, 2, 5, 10, 100, highest} {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			x(.55), x(.95), y(r), y(r), left+marginLeft-6, y(r)+4, r)
	}
	for _, c := range panel {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.2f</text>`+"\n", x(c.Setting.Load), panelHeight+18, c.Setting.Load)
	}
	if len(panel) == 0 {
		return
	}
	for i, r := range panel[0].Results {
		var points []string
		for _, c := range panel {
			_, p99, _ := c.Ratios(c.Results[i])
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(c.Setting.Load), y(p99)))
		}
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="2" points="%s"><title>%s</title></polyline>`+"\n",
			colour(i), strings.Join(points, " "), html.EscapeString(r.Policy))
	}
}

func drawLegend(b *strings.Builder, left int, comparisons []Comparison) {
	if len(comparisons) == 0 {
		return
	}
	for i, r := range comparisons[0].Results {
		y := marginTop + 20*i
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="3"/><text x="%d" y="%d">%s</text>`+"\n",
			left, left+20, y, y, colour(i), left+26, y+4, html.EscapeString(r.Policy))
	}
}

// colour spreads the hues by the golden angle, so that neighbours differ.
func colour(i int) string {
	return fmt.Sprintf("hsl(%d,70%%,%d%%)", i*137%360, 35+15*(i%2))
}
