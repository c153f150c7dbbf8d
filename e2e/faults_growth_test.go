package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// holding is what a program holds at one moment.
type holding struct {
	at   time.Duration // since the first
	heap float64       // bytes, after a collection
	harness.Usage
}

// hold looks at a program; admin is the URL of its admin API.
func hold(p *harness.Process, admin string, at time.Duration) (holding, error) {
	text, err := harness.Body(admin + "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return holding{}, err
	}
	h := holding{at: at}
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "# HeapAlloc = "); ok {
			if h.heap, err = strconv.ParseFloat(n, 64); err != nil {
				return h, err
			}
		}
	}
	h.Usage, err = p.Usage(admin + "/metrics")
	return h, err
}

// growth is what became of a program that was left alone.
type growth struct {
	heap                    float64 // percent a minute of the mean: the slope of the line through all
	goroutines, descriptors int     // the medians of the last third less those of the first
}

func grown(all []holding) growth {
	var g growth
	third := len(all) / 3
	if third == 0 {
		return g
	}
	var n, x, y, xx, xy float64
	for _, h := range all {
		t := h.at.Minutes()
		n, x, y, xx, xy = n+1, x+t, y+h.heap, xx+t*t, xy+t*h.heap
	}
	if d := n*xx - x*x; d > 0 && y > 0 {
		g.heap = 100 * (n*xy - x*y) / d / (y / n)
	}
	first, last := all[:third], all[len(all)-third:]
	g.goroutines = median(last, func(h holding) int { return h.Goroutines }) - median(first, func(h holding) int { return h.Goroutines })
	g.descriptors = median(last, func(h holding) int { return h.Descriptors }) - median(first, func(h holding) int { return h.Descriptors })
	return g
}

func median(all []holding, of func(holding) int) int {
	values := make([]int, len(all))
	for i, h := range all {
		values[i] = of(h)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// What may differ by chance.
const (
	mostHeap       = 1.0 // percent a minute
	mostGoroutines = 5
	mostFiles      = 16
)

func (g growth) flat() bool {
	return g.heap <= mostHeap && g.goroutines <= mostGoroutines && g.goroutines >= -mostGoroutines && g.descriptors <= mostFiles
}

func (g growth) String() string {
	return fmt.Sprintf("heap %+.2f %%/min, goroutines %+d, descriptors %+d", g.heap, g.goroutines, g.descriptors)
}

func TestGrowthIsSeen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		of   func(i int) holding
		flat bool
	}{
		"flat":        {func(i int) holding { return holding{heap: 1e7 + float64(i%2)*1e5} }, true},
		"heap":        {func(i int) holding { return holding{heap: 1e7 + float64(i)*2e4} }, false},
		"goroutines":  {func(i int) holding { return holding{heap: 1e7, Usage: harness.Usage{Goroutines: i / 4}} }, false},
		"descriptors": {func(i int) holding { return holding{heap: 1e7, Usage: harness.Usage{Descriptors: i}} }, false},
	} {
		var all []holding
		for i := range 60 {
			h := c.of(i)
			h.at = time.Duration(i) * 5 * time.Second
			all = append(all, h)
		}
		if g := grown(all); g.flat() != c.flat {
			t.Errorf("%s: %v", name, g)
		}
	}
}
