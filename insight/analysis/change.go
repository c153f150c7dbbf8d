package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// changePoints is the number of averages that a history is reduced to before
// it is searched, which bounds the cost of the search and evens out noise.
const changePoints = 60

// Change is a trend or a shift in the history of one figure.
type Change struct {
	Scope
	Metric  Metric     `json:"metric"`
	Kind    ChangeKind `json:"kind"`
	Since   time.Time  `json:"since"`
	Before  float64    `json:"before"`
	After   float64    `json:"after"`
	Message string     `json:"message"`
}

func newChange(scope Scope, m *metric, found change, since time.Time) Change {
	direction := "rose"
	if found.after < found.before {
		direction = "fell"
	}
	text := fmt.Sprintf("%s: %s %s from %s to %s at about %s UTC", scope.Subject(), m.name, direction,
		m.unit(found.before), m.unit(found.after), since.UTC().Format(time.TimeOnly))
	if found.kind == Trend {
		text = fmt.Sprintf("%s: %s %s steadily from %s to %s since %s UTC", scope.Subject(), m.name, direction,
			m.unit(max(0, found.before)), m.unit(max(0, found.after)), since.UTC().Format(time.TimeOnly))
	}
	return Change{Scope: scope, Metric: m.name, Kind: found.kind, Since: since, Before: found.before, After: found.after, Message: text}
}

// A change found in a series of values.
type change struct {
	kind          ChangeKind
	at            int // index of the first value after a shift; 0 for a trend
	before, after float64
}

// ChangeKind tells a step from a slope.
type ChangeKind string

// The kinds of change.
const (
	Shift ChangeKind = "shift" // the level changed at one moment
	Trend ChangeKind = "trend" // the value rises or falls throughout
)

const (
	minChangePoints = 12
	changeLevel     = .001 // significance: the chance of a change where there is none
	changeSize      = .25  // of the larger level: smaller changes are nobody's concern
)

// findChange looks for the one change that describes the values best, by two
// rank methods that assume no distribution and shrug off outliers: a shift by
// Pettitt's test (A. N. Pettitt, "A Non-Parametric Approach to the Change-Point
// Problem", 1979), a trend by the test of Mann (1945) and Kendall (1975) with
// the slope of Theil (1950) and Sen (1968). Where both are significant, the one
// whose line is closer to the values wins.
func findChange(values []float64) (change, bool) {
	if len(values) < minChangePoints || !large(slices.Min(values), slices.Max(values)) {
		return change{}, false // most figures of most pods hardly change at all
	}
	shift, shiftFound := findShift(values)
	trend, slope, trendFound := findTrend(values)
	switch {
	case !shiftFound && !trendFound:
		return change{}, false
	case !trendFound || shiftFound && stepDistance(values, shift) <= slopeDistance(values, slope):
		return shift, true
	}
	return trend, true
}

// large reports whether two levels differ by enough to be worth saying.
func large(before, after float64) bool {
	return math.Abs(after-before) > changeSize*max(math.Abs(before), math.Abs(after))
}

// findShift is Pettitt's test: U(t) = 2 Σ rank − t (n+1) over the first t values
// peaks where the level changes, and its peak K has p ≈ 2 exp(−6K²/(n³+n²)).
func findShift(values []float64) (change, bool) {
	n := float64(len(values))
	sum, peak, at := 0.0, 0.0, 0
	for t, rank := range ranks(values) {
		sum += rank
		if u := math.Abs(2*sum - float64(t+1)*(n+1)); u > peak {
			peak, at = u, t+1
		}
	}
	p := 2 * math.Exp(-6*peak*peak/(n*n*n+n*n))
	if p > changeLevel || at == len(values) {
		return change{}, false
	}
	found := change{kind: Shift, at: at, before: median(values[:at]), after: median(values[at:])}
	return found, large(found.before, found.after)
}

// findTrend is the Mann–Kendall test, with the Theil–Sen slope per value.
func findTrend(values []float64) (found change, slope float64, ok bool) {
	s := 0
	for i := range values {
		for _, later := range values[i+1:] {
			s += cmp.Compare(later, values[i])
		}
	}
	z := max(0, math.Abs(float64(s))-1) / math.Sqrt(tieCorrected(values))
	if math.IsNaN(z) || math.Erfc(z/math.Sqrt2) > changeLevel {
		return change{}, 0, false
	}
	slope = theilSen(values)
	middle, half := median(values), slope*float64(len(values)-1)/2
	found = change{kind: Trend, before: middle - half, after: middle + half}
	return found, slope, large(found.before, found.after)
}

// theilSen is the median of the slopes between all pairs of values.
func theilSen(values []float64) float64 {
	slopes := make([]float64, 0, len(values)*(len(values)-1)/2)
	for i := range values {
		for j := i + 1; j < len(values); j++ {
			slopes = append(slopes, (values[j]-values[i])/float64(j-i))
		}
	}
	return median(slopes)
}

// tieCorrected is the variance of Kendall's S, less what equal values take away.
func tieCorrected(values []float64) float64 {
	term := func(n float64) float64 { return n * (n - 1) * (2*n + 5) }
	variance := term(float64(len(values)))
	equal := make(map[float64]float64)
	for _, v := range values {
		equal[v]++
	}
	for _, n := range equal {
		variance -= term(n)
	}
	return variance / 18
}

// stepDistance and slopeDistance sum how far the values lie from either line.
func stepDistance(values []float64, c change) (sum float64) {
	for i, v := range values {
		level := c.before
		if i >= c.at {
			level = c.after
		}
		sum += math.Abs(v - level)
	}
	return sum
}

func slopeDistance(values []float64, slope float64) (sum float64) {
	rest := make([]float64, len(values))
	for i, v := range values {
		rest[i] = v - slope*float64(i)
	}
	base := median(rest)
	for _, r := range rest {
		sum += math.Abs(r - base)
	}
	return sum
}

// ranks are the 1-based positions of the values in order, equal ones sharing
// the mean of theirs.
func ranks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(values[a], values[b]) })
	out := make([]float64, len(values))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && values[order[j]] == values[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			out[k] = float64(i+j+1) / 2
		}
		i = j
	}
	return out
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
