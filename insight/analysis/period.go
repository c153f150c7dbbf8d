package analysis

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// period is what one scope did over some consecutive samples, in few bytes: a
// history holds up to changePoints of them for every pod there is.
type period struct {
	start   int64         // Unix nanoseconds
	length  time.Duration // observed
	samples int

	requests, errors, hits, misses uint64

	timed   uint64        // response times measured
	seconds float64       // their sum
	times   []periodCount // and distribution, ascending

	sums gauges // over the samples

	knowsMemory, knowsCPU bool // of the newest sample: their limits are known
}

type periodCount struct {
	bucket uint8 // of Durations
	n      uint32
}

// add adds a point that is later than what the period holds.
func (s *period) add(p *point) {
	s.addFigures(&period{
		start: p.at.Add(-p.span).UnixNano(), length: p.span, samples: 1,
		requests: p.requests, errors: p.errors, hits: p.hits, misses: p.misses,
		timed: p.times.count, seconds: p.times.sum, sums: p.gauges(),
		knowsMemory: p.usage.MemoryLimit > 0, knowsCPU: p.usage.CPULimit > 0,
	})
	for _, c := range p.times.buckets {
		s.addTimes(c.bucket, c.n)
	}
}

// addFigures adds all of a later period but the distribution of its times.
func (s *period) addFigures(p *period) {
	if s.samples == 0 {
		s.start = p.start
	}
	s.length += p.length
	s.samples += p.samples
	s.requests += p.requests
	s.errors += p.errors
	s.hits += p.hits
	s.misses += p.misses
	s.timed += p.timed
	s.seconds += p.seconds
	s.sums.add(p.sums)
	s.knowsMemory, s.knowsCPU = p.knowsMemory, p.knowsCPU
}

func (s *period) addTimes(bucket uint8, n uint64) {
	i, found := slices.BinarySearchFunc(s.times, bucket, func(c periodCount, b uint8) int { return cmp.Compare(c.bucket, b) })
	if !found {
		s.times = slices.Insert(s.times, i, periodCount{bucket: bucket})
	}
	s.times[i].n = uint32(min(uint64(s.times[i].n)+n, math.MaxUint32))
}

// sumOf sums consecutive periods up, and shares nothing with them.
func sumOf(periods []period) (sum period) {
	for i := range periods {
		p := &periods[i]
		sum.addFigures(p)
		if sum.times == nil {
			sum.times = slices.Clone(p.times)
			continue
		}
		for _, c := range p.times {
			sum.addTimes(c.bucket, uint64(c.n))
		}
	}
	return sum
}

// window returns the period as a window, without the distribution of its times.
func (s *period) window(scope Scope) Window {
	w := Window{
		Scope: scope, Start: time.Unix(0, s.start), Period: s.length, Samples: s.samples,
		Requests: s.requests, Errors: s.errors, Hits: s.hits, Misses: s.misses,
		ResponseTimes: Durations{count: s.timed, sum: s.seconds},
		sums:          s.sums,
	}
	if s.knowsMemory {
		w.Usage.MemoryLimit = 1
	}
	if s.knowsCPU {
		w.Usage.CPULimit = 1
	}
	return w
}
