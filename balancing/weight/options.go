package weight

import "time"

// Options configure a Controller.
type Options struct {
	// SlowStart is how long a pod takes to reach its full weight that joins later
	// than the first SetPods, serves again after it was unhealthy or in maintenance,
	// or has got another address; 0 means at once. A pod that was only drained never
	// stopped serving and has its full weight at once.
	SlowStart time.Duration
	// Scale is the weight of an average pod whose configured weight is 1; 0 means
	// 10,000. Larger scales round less.
	Scale uint32
}

const (
	defaultScale = 10_000
	// minInterval is the least time between two pushes.
	minInterval = time.Second
	// deadBand is the relative change below which a weight is left alone.
	deadBand = 0.2
	// maxStep is the largest factor by which one push may change a weight, and
	// returnStep the same for a pod whose latest requests show that it has recovered,
	// until its weight is back.
	maxStep    = 2
	returnStep = 12
	// minRate is about the least number of requests a second that a pod keeps
	// getting, so that its recovery is noticed, but no more than a tenth of what its
	// peers get. It matters where it makes more than minFactor does.
	minRate = 1
	// minFactor and maxFactor bound what the load makes of a configured weight.
	minFactor = 0.0002
	maxFactor = 4
	// memory is the time over which steady response times are averaged. A change by
	// more than half is believed after a few seconds all the same.
	memory = 30 * time.Second
)
