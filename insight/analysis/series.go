package analysis

import (
	"slices"
	"time"
)

// series is the history of one scope. The newest samples are kept whole, for
// the rules look at them; what is older, and they too, is summed up in periods
// of equal length, of which there are never many: memory does not grow with
// the samples, only their resolution shrinks.
//
// A period that is full is never written again, so that a copy of the slice is
// a snapshot that needs no lock.
type series struct {
	recent []point // a ring of at most lookback points
	start  int     // index of the oldest once the ring is full

	per     int      // samples in each full period
	full    []period // oldest first
	open    period   // the newest samples
	samples int      // in all periods
}

// push adds a sample; most is how many the history covers.
func (s *series) push(p point, most int) {
	switch limit := min(lookback, most); {
	case s.recent == nil:
		s.recent = append(make([]point, 0, limit), p)
	case len(s.recent) < limit:
		s.recent = append(s.recent, p)
	default:
		s.recent[s.start] = p
		s.start = (s.start + 1) % limit
	}
	s.sumUp(&p, most)
}

// at returns the i-th point counted back from the newest, which is 0.
func (s *series) at(i int) *point {
	n := len(s.recent)
	return &s.recent[((s.start-1-i)%n+n)%n]
}

// newest sums the newest points up, at most limit of them.
func (s *series) newest(scope Scope, limit int) Window {
	w := Window{Scope: scope}
	for i := range min(limit, len(s.recent)) {
		p := s.at(i)
		w.extend(p)
		w.ResponseTimes.Merge(p.times)
	}
	return w
}

// figures has w sum the newest points until enough says so, without the
// distribution of their times.
func (s *series) figures(w *Window, enough func(*Window) bool) {
	for i := range len(s.recent) {
		p := s.at(i)
		w.extend(p)
		w.ResponseTimes.count += p.times.count
		w.ResponseTimes.sum += p.times.sum
		if enough(w) {
			return
		}
	}
}

// sumUp adds a point to the periods.
func (s *series) sumUp(p *point, most int) {
	s.per = max(s.per, 1)
	s.open.add(p)
	if s.samples++; s.open.samples == s.per {
		s.close(s.open)
		s.open = period{}
		if longest := longestPeriod(most); len(s.full) > changePoints && s.per < longest {
			s.coarsen(longest)
		}
	}
	for s.samples > most && len(s.full) > 0 {
		s.samples -= s.full[0].samples
		s.full = s.full[1:]
	}
}

// close adds a full period. The slice has little room to spare, unlike append's.
func (s *series) close(p period) {
	p.times = slices.Clone(p.times) // which has no room to spare
	if len(s.full) == cap(s.full) {
		s.full = append(make([]period, 0, len(s.full)+8), s.full...)
	}
	s.full = append(s.full, p)
}

// longestPeriod is the number of samples in a period of a full history, such
// that there are at most changePoints periods: a power of two, or three times one.
func longestPeriod(most int) int {
	for n := 1; ; n *= 2 {
		switch {
		case n*changePoints >= most:
			return n
		case n%2 == 0 && n/2*3*changePoints >= most:
			return n / 2 * 3
		}
	}
}

// coarsen makes periods twice as long, or three times where that is the way to
// the longest.
func (s *series) coarsen(longest int) {
	factor := 2
	if s.per == 1 && longest%3 == 0 {
		factor = 3
	}
	s.per *= factor
	fine := s.full
	s.full = nil
	for len(fine) >= factor {
		s.close(sumOf(fine[:factor]))
		fine = fine[factor:]
	}
	s.open = sumOf(fine)
}

// historySnapshot is a snapshot of a scope's history.
type historySnapshot struct {
	scope Scope
	full  []period
	open  period
}

func (s *series) snapshot(scope Scope) historySnapshot {
	return historySnapshot{scope: scope, full: slices.Clip(s.full), open: sumOf([]period{s.open})}
}

// periods calls f with every period, the oldest first.
func (p *historySnapshot) periods(f func(*period)) {
	for i := range p.full {
		f(&p.full[i])
	}
	if p.open.samples > 0 {
		f(&p.open)
	}
}

// total sums the history up.
func (p *historySnapshot) total() Window {
	var sum period
	var counts [1 << 8]uint64
	p.periods(func(one *period) {
		for _, c := range one.times {
			counts[c.bucket] += uint64(c.n)
		}
		sum.addFigures(one)
	})
	w := sum.window(p.scope)
	for bucket, n := range &counts {
		if n > 0 {
			w.ResponseTimes.buckets = append(w.ResponseTimes.buckets, durationCount{uint8(bucket), n})
		}
	}
	return w
}

// observed says for how long a series was observed, and whether it shows any
// request.
func (s *series) observed() (length time.Duration, requests bool) {
	p := historySnapshot{full: s.full, open: s.open}
	p.periods(func(one *period) {
		length += one.length
		requests = requests || one.requests+one.timed+one.hits+one.misses > 0
	})
	return length, requests
}
