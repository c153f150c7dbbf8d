package main

import (
	"fmt"
	"html"
	"strings"
)

// The picture's measures, in pixels.
const (
	labels   = 190 // width of the gateways' names
	cellWide = 26
	cellTall = 20
	headTall = 190 // of the schedules' names
	footTall = 40
)

// picture is a square for each gateway and schedule, coloured by its verdict.
func picture(all []gateway) string {
	names := schedules(all)
	var here []gateway
	for _, g := range all {
		if g.absent == "" {
			here = append(here, g)
		}
	}
	wide, tall := labels+len(names)*cellWide+120, headTall+len(here)*cellTall+footTall
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", wide, tall)
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	for i, s := range names {
		x := labels + i*cellWide + cellWide/2 + 4
		fmt.Fprintf(&b, `<text transform="translate(%d %d) rotate(-60)">%s</text>`+"\n", x, headTall-8, html.EscapeString(s))
	}
	for i, g := range here {
		y := headTall + i*cellTall
		weight := ""
		if strings.HasPrefix(g.name, "stateful-route") {
			weight = ` font-weight="bold"`
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end"%s>%s</text>`+"\n", labels-8, y+cellTall-6, weight, html.EscapeString(g.name))
		for j, s := range names {
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"><title>%s, %s: %s</title></rect>`+"\n",
				labels+j*cellWide, y, cellWide-2, cellTall-2, g.colour(s), html.EscapeString(g.name), html.EscapeString(s),
				html.EscapeString(strings.ReplaceAll(g.cell(s), "**", "")))
		}
	}
	legend(&b, headTall+len(here)*cellTall+14)
	b.WriteString("</svg>\n")
	return b.String()
}

// The colours of verdicts; of wrong ones the darker the more sessions.
const (
	green, grey, yellow   = "#7fbf7b", "#eeeeee", "#fdd870"
	lightRed, red, maroon = "#f4a582", "#d6604d", "#8b1a1a"
)

func (g gateway) colour(schedule string) string {
	switch g.verdict(schedule) {
	case kept:
		return green
	case varies:
		return yellow
	case wrong:
	default:
		return grey
	}
	most := 0.0
	for _, r := range g.of(schedule) {
		most = max(most, r.hit())
	}
	switch {
	case most < 10:
		return lightRed
	case most < 50:
		return red
	}
	return maroon
}

func legend(b *strings.Builder, y int) {
	x := labels / 4
	for _, l := range []struct{ colour, text string }{
		{green, "kept or refused"}, {lightRed, "silently wrong: < 10 %"}, {red, "10–50 %"}, {maroon, "≥ 50 % of the sessions"},
		{yellow, "varies with the seed"}, {grey, "not promised"},
	} {
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="14" height="14" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n", x, y, l.colour, x+18, y+12, html.EscapeString(l.text))
		x += 28 + 7*len([]rune(l.text))
	}
}
