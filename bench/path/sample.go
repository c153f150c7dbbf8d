package main

import (
	"slices"
	"time"
)

// sample is one measurement.
type sample struct {
	row                   string
	round                 int
	protocol, concurrency int

	requests, failed, wrong int
	rate, ratio             float64 // requests a second; that to plain Envoy's of the round
	p50, p99, p999          time.Duration
	cpu                     [roles]time.Duration // of a request
	private                 uint64               // memory of the proxy
	changes                 float64              // a second
}

func newSample(row string, protocol, concurrency int, out outcome, before, after usage, changes float64) sample {
	n := len(out.took)
	s := sample{
		row: row, protocol: protocol, concurrency: concurrency,
		requests: n, failed: out.failed, wrong: out.wrong,
		rate: float64(n) / out.elapsed.Seconds(),
		p50:  quantile(out.took, .5), p99: quantile(out.took, .99), p999: quantile(out.took, .999),
		private: after[proxy].Private, changes: changes / out.elapsed.Seconds(),
	}
	for r := range roles {
		s.cpu[r] = (after[r].CPU - before[r].CPU) / time.Duration(n)
	}
	return s
}

// quantile is the smallest of the sorted values that at least a share q of them do not exceed.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	n := float64(len(sorted)) * q
	i := int(n)
	if float64(i) == n {
		i--
	}
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// spread is what the rounds gave.
type spread struct{ median, least, most float64 }

func spreadOf(samples []sample, of func(sample) float64) spread {
	var v []float64
	for _, s := range samples {
		v = append(v, of(s))
	}
	slices.Sort(v)
	if len(v) == 0 {
		return spread{}
	}
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (v[len(v)/2-1] + m) / 2
	}
	return spread{m, v[0], v[len(v)-1]}
}

// pick are the samples of a cell of the tables.
func pick(all []sample, row string, protocol, concurrency int) []sample {
	var out []sample
	for _, s := range all {
		if s.row == row && s.protocol == protocol && s.concurrency == concurrency {
			out = append(out, s)
		}
	}
	return out
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
