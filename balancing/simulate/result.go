package simulate

import (
	"math"
	"slices"
	"time"
)

// Result is what one policy did in one setting, over the requests that arrived in
// the measured time.
type Result struct {
	Policy         string
	Requests       int
	P50, P99, P999 time.Duration
	Errors         float64 // share of the requests
	// MaxOverMean is the busiest pod's slot time over the mean of all.
	MaxOverMean float64
	// Broken is the share of sessions that were moved off their pod.
	Broken float64
	// Away is the share of placed sessions that are not on their key's home; it is
	// only known of policies that have homes.
	Away float64
	// WeightPushes counts the pushes of endpoint weights in the measured time.
	WeightPushes int
	// WeightSpread is the largest distance of a pushed weight from its mean over
	// the second half of the measured time, relative to the mean, over all pods.
	WeightSpread float64
}

// measure fills in what follows from the response times.
func (r *Result) measure(times []time.Duration, servers []*server) {
	slices.Sort(times)
	r.Requests = len(times)
	r.P50, r.P99, r.P999 = quantile(times, .5), quantile(times, .99), quantile(times, .999)
	var most, sum float64
	used := 0
	for _, p := range servers {
		if p.worked > 0 {
			used++
			sum += p.worked.Seconds()
			most = max(most, p.worked.Seconds())
		}
	}
	r.MaxOverMean = most * float64(used) / sum
}

// quantile is the nearest-rank quantile of sorted times; 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}
