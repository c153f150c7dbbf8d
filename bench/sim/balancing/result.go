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
	// NewP99 is the 99th percentile over the requests of sessions that were placed in
	// the measured time; 0 when each request is placed. It shows what a policy does
	// for those it could still place well after a fault.
	NewP99 time.Duration
	Errors float64 // share of the requests
	// MaxOverMean is the busiest pod's slot time over the mean of all.
	MaxOverMean float64
	// Broken is the share of sessions that were moved off their pod.
	Broken float64
	// Away is the share of placed sessions that are not on their key's home; it
	// means something only for policies that use homes.
	Away float64
	// WeightPushes counts the pushes of endpoint weights in the measured time.
	WeightPushes int
	// WeightSpread is the largest distance of a pod's weight from its own mean over
	// the second half of the measured time, relative to the mean weight of all pods.
	WeightSpread float64

	times    []time.Duration // sorted
	newTimes []time.Duration // those of NewP99, sorted
}

// measure fills in what follows from the response times and the pods.
func (r *Result) measure(times []time.Duration, servers []*server) {
	slices.Sort(times)
	r.setTimes(times)
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

func (r *Result) setTimes(sorted []time.Duration) {
	r.times, r.Requests = sorted, len(sorted)
	r.P50, r.P99, r.P999 = quantile(sorted, .5), quantile(sorted, .99), quantile(sorted, .999)
}

func (r *Result) setNewTimes(times []time.Duration) {
	slices.Sort(times)
	r.newTimes, r.NewP99 = times, quantile(times, .99)
}

// quantile is the nearest-rank quantile of sorted times; 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
}

// Merge pools the results of one policy over several seeds: quantiles over all
// requests, means of the shares, and the largest spread.
func Merge(results []Result) Result {
	out := Result{Policy: results[0].Policy}
	var times, newTimes []time.Duration
	n := float64(len(results))
	for _, r := range results {
		times = append(times, r.times...)
		newTimes = append(newTimes, r.newTimes...)
		out.Errors += r.Errors / n
		out.MaxOverMean += r.MaxOverMean / n
		out.Broken += r.Broken / n
		out.Away += r.Away / n
		out.WeightPushes += r.WeightPushes
		out.WeightSpread = max(out.WeightSpread, r.WeightSpread)
	}
	slices.Sort(times)
	out.setTimes(times)
	out.setNewTimes(newTimes)
	return out
}
