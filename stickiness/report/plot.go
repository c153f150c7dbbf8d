package report

import (
	"cmp"
	"fmt"
	"html"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/check"
	"github.com/stateful-route/stateful-route/stickiness/history"
)

// Measures of the picture, in pixels.
const (
	left, width, right = 120, 900, 20
	top, row, bottom   = 110, 22, 60
	mostSessions       = 15
	dot                = 5
)

// colours of the pods, in the order of their names: told apart also by those who
// see few colours.
func colours() []string {
	return []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#000000"}
}

// Plot is the timeline of the sessions that fared worst, as SVG: a line a session,
// a dot an answer in the colour of the pod that gave it.
func Plot(r Row) string {
	h := r.Outcome.History
	p := &plot{row: r, end: end(h), colour: map[string]string{}}
	for i, name := range slices.Sorted(maps.Keys(h.Pods)) {
		p.colour[name] = colours()[i%len(colours())]
	}
	sessions := worst(r)
	height := top + row*len(sessions) + bottom
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`, left+width+right, height)
	p.printf(`<rect width="100%%" height="100%%" fill="white"/>`)
	p.printf(`<text x="10" y="20" font-size="15">%s, %s, seed %d: the sessions that fared worst</text>`, html.EscapeString(r.Adapter.Name), html.EscapeString(r.Schedule.Name), r.Seed)
	p.legend()
	p.marks(height - bottom)
	for i, s := range sessions {
		p.session(s, top+row*i+row/2)
	}
	for s := range int(p.end/time.Second) + 1 {
		x := p.x(time.Duration(s) * time.Second)
		p.printf(`<text x="%.1f" y="%d" text-anchor="middle" fill="#555">%d s</text>`, x, height-bottom+20, s)
	}
	p.printf(`</svg>`)
	return p.b.String()
}

type plot struct {
	b      strings.Builder
	row    Row
	end    time.Duration
	colour map[string]string
}

func (p *plot) printf(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

func end(h history.History) time.Duration {
	last := time.Second
	for _, r := range h.Records {
		last = max(last, r.Received)
	}
	return last
}

func (p *plot) x(at time.Duration) float64 {
	return left + width*min(1, max(0, float64(at)/float64(p.end)))
}

func (p *plot) legend() {
	x := left
	for _, name := range slices.Sorted(maps.Keys(p.colour)) {
		p.printf(`<circle cx="%d" cy="38" r="%d" fill="%s"/><text x="%d" y="42">%s</text>`, x, dot, p.colour[name], x+9, html.EscapeString(name))
		x += 80
	}
	p.printf(`<text x="%d" y="62" fill="#555">● right   ◆ rebound   ■ (ringed) wrong pod   ▲ lost visits   – refused   × failed</text>`, left)
}

// marks are what was done meanwhile.
func (p *plot) marks(bottom int) {
	for i, m := range p.row.Outcome.History.Marks {
		x := p.x(m.From)
		p.printf(`<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#bbb" fill-opacity="0.5"/>`, x, top-8, max(1, p.x(m.Until)-x), bottom-top+8)
		p.printf(`<text x="%.1f" y="%d" fill="#333" font-size="10">%s</text>`, x, 78+11*(i%2), html.EscapeString(m.Text))
	}
}

func (p *plot) session(name string, y int) {
	p.printf(`<text x="%d" y="%d" text-anchor="end">%s</text>`, left-10, y+4, html.EscapeString(name))
	p.printf(`<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#ddd"/>`, left, left+width, y, y)
	for i, r := range p.row.Outcome.History.Records {
		if r.Session == name {
			p.visit(r, p.row.Outcome.Result.Verdicts[i], y)
		}
	}
}

func (p *plot) visit(r history.Record, v check.Verdict, y int) {
	x, fill := p.x(r.Received), "#888"
	if r.Answer != nil && p.colour[r.Answer.Pod] != "" {
		fill = p.colour[r.Answer.Pod]
	}
	title := fmt.Sprintf("<title>%s %s at %.3f s</title>", v.Class, html.EscapeString(v.Reason), r.Received.Seconds())
	switch v.Class {
	case check.Right:
		p.printf(`<circle cx="%.1f" cy="%d" r="%d" fill="%s">%s</circle>`, x, y, dot, fill, title)
	case check.Rebound:
		p.printf(`<rect x="%.1f" y="%d" width="8" height="8" fill="%s" transform="rotate(45 %.1f %d)">%s</rect>`, x-4, y-4, fill, x, y, title)
	case check.WrongPod:
		p.printf(`<rect x="%.1f" y="%d" width="10" height="10" fill="%s" stroke="red" stroke-width="2">%s</rect>`, x-5, y-5, fill, title)
	case check.LostVisits:
		p.printf(`<path d="M%.1f %d l6 11 h-12 z" fill="%s" stroke="red" stroke-width="2">%s</path>`, x, y-6, fill, title)
	case check.Refused:
		p.printf(`<path d="M%.1f %d h10" stroke="#000" stroke-width="3">%s</path>`, x-5, y, title)
	case check.Failed:
		p.printf(`<path d="M%.1f %d l8 8 m0 -8 l-8 8" stroke="#000" stroke-width="2">%s</path>`, x-4, y-4, title)
	}
}

// worst are the sessions with the most that is wrong, and then with the most that
// is not right.
func worst(r Row) []string {
	type score struct{ wrong, bad int }
	scores := map[string]score{}
	for i, rec := range r.Outcome.History.Records {
		s := scores[rec.Session]
		switch r.Outcome.Result.Verdicts[i].Class {
		case check.Right:
		case check.WrongPod, check.LostVisits:
			s.wrong++
		default:
			s.bad++
		}
		scores[rec.Session] = s
	}
	names := slices.SortedFunc(maps.Keys(scores), func(a, b string) int {
		return cmp.Or(cmp.Compare(scores[b].wrong, scores[a].wrong), cmp.Compare(scores[b].bad, scores[a].bad), cmp.Compare(a, b))
	})
	return names[:min(len(names), mostSessions)]
}
