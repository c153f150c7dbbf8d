package main

import (
	"fmt"
	"html"
	"strings"
)

// The picture's measures, in pixels.
const (
	labels   = 310 // width of the rows' names
	bars     = 520
	barTall  = 9
	between  = 9 // two rows
	topSpace = 64
)

// series is one colour: a version of HTTP and a concurrency.
type series struct {
	protocol, concurrency int
	colour                string
}

// plotted are the series of the picture: without a load of one request at a time, if there are others.
func plotted(concurrency, protocols []int) []series {
	colours := [][]string{{"#9ecae1", "#3182bd", "#08519c"}, {"#fdae6b", "#e6550d", "#a63603"}}
	var all []series
	for i, p := range protocols {
		n := 0
		for _, c := range concurrency {
			if c > 1 || len(concurrency) == 1 {
				all = append(all, series{p, c, colours[i%2][n%3]})
				n++
			}
		}
	}
	return all
}

// plot is a bar for each row and series: requests a second as a share of plain Envoy's, the
// median of the rounds, with a line from the least to the most.
func plot(rows []row, samples []sample, concurrency, protocols []int) string {
	all := plotted(concurrency, protocols)
	most := 1.1
	var shown []row
	for _, r := range rows {
		found := false
		for _, s := range all {
			cell := spreadOf(pick(samples, r.name, s.protocol, s.concurrency), ratioOf)
			most, found = max(most, cell.most), found || cell.most > 0
		}
		if found {
			shown = append(shown, r)
		}
	}
	tall := topSpace + len(shown)*(len(all)*barTall+between) + 16
	scale := bars / most
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", labels+bars+60, tall)
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	fmt.Fprintf(&b, `<text x="10" y="20" font-size="14">Requests a second as a share of plain Envoy's (medians; lines: least to most)</text>`+"\n")
	for i, s := range all {
		x := 10 + i*150
		fmt.Fprintf(&b, `<rect x="%d" y="32" width="10" height="10" fill="%s"/><text x="%d" y="41">%s, %d at a time</text>`+"\n", x, s.colour, x+14, version(s.protocol), s.concurrency)
	}
	y := topSpace
	for _, r := range shown {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", labels-8, y+len(all)*barTall/2+4, html.EscapeString(r.title))
		for _, s := range all {
			if cell := pick(samples, r.name, s.protocol, s.concurrency); len(cell) > 0 {
				bar(&b, y, scale, spreadOf(cell, ratioOf), s.colour)
			}
			y += barTall
		}
		y += between
	}
	fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#444" stroke-dasharray="3 3"/>`+"\n</svg>\n", labels+scale, labels+scale, topSpace-6, tall-10)
	return b.String()
}

func ratioOf(s sample) float64 { return s.ratio }

func bar(b *strings.Builder, y int, scale float64, v spread, colour string) {
	middle := float64(y) + barTall/2.0
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, labels, y, v.median*scale, barTall-1, colour)
	fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#222"/>`, labels+v.least*scale, labels+v.most*scale, middle, middle)
	fmt.Fprintf(b, `<text x="%.1f" y="%d" font-size="9">%.2f</text>`+"\n", labels+v.most*scale+4, y+barTall-1, v.median)
}
