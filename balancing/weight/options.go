package weight

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Options configure a Controller. The zero value of each field but SlowStart
// means its default.
type Options struct {
	// MinInterval is the least time between two pushes; 0 means 1s.
	MinInterval time.Duration
	// DeadBand is the relative change below which a weight is left alone; 0 means
	// 0.2, and it must be below 1.
	DeadBand float64
	// MaxStep is the largest factor by which one push may change a weight; 0 means
	// 2, and it must be above 1.
	MaxStep float64
	// ReturnStep is the same for a pod whose latest requests show that it has
	// recovered, until its weight is back; 0 means 12, and it must be above 1.
	ReturnStep float64
	// MinRate is about the least number of requests a second that a pod keeps
	// getting, so that its recovery is noticed, but no more than a tenth of what its
	// peers get; 0 means 1. It matters where it makes more than MinFactor does.
	MinRate float64
	// SlowStart is how long a pod takes to reach its full weight that joins later
	// than the first SetPods, serves again after it was unhealthy or in maintenance,
	// or has got another address; 0 means at once. A pod that was only drained never
	// stopped serving and has its full weight at once.
	SlowStart time.Duration
	// Scale is the weight of an average pod whose configured weight is 1; 0 means
	// 10,000. Larger scales round less.
	Scale uint32
	// MinFactor and MaxFactor bound what the load makes of a configured weight; 0
	// means 0.0002 and 4.
	MinFactor float64
	MaxFactor float64
	// Memory is the time over which steady response times are averaged; 0 means
	// 30s. A change by more than half is believed after a few seconds whatever
	// Memory says.
	Memory time.Duration
}

func (o Options) withDefaults() Options {
	setDefault(&o.MinInterval, time.Second)
	setDefault(&o.DeadBand, 0.2)
	setDefault(&o.MaxStep, 2)
	setDefault(&o.Scale, 10_000)
	setDefault(&o.ReturnStep, 12)
	setDefault(&o.MinRate, 1)
	setDefault(&o.MinFactor, 0.0002)
	setDefault(&o.MaxFactor, 4)
	setDefault(&o.Memory, 30*time.Second)
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o Options) validate() error {
	switch {
	case o.MinInterval < 0 || o.SlowStart < 0 || o.Memory < 0:
		return errors.New("negative duration in the weight options")
	case !(o.DeadBand > 0 && o.DeadBand < 1):
		return fmt.Errorf("dead band %v is not between 0 and 1", o.DeadBand)
	case !finiteAbove(o.MaxStep, 1):
		return fmt.Errorf("largest step %v is not above 1", o.MaxStep)
	case !finiteAbove(o.ReturnStep, 1):
		return fmt.Errorf("largest step back %v is not above 1", o.ReturnStep)
	case !finiteAbove(o.MinRate, 0):
		return fmt.Errorf("least rate %v is not positive", o.MinRate)
	case !(o.MinFactor > 0 && o.MinFactor <= 1 && o.MaxFactor >= 1) || math.IsInf(o.MaxFactor, 0):
		return fmt.Errorf("factors from %v to %v do not enclose 1", o.MinFactor, o.MaxFactor)
	}
	return nil
}

// finiteAbove is false for NaN, too.
func finiteAbove(x, bound float64) bool { return x > bound && !math.IsInf(x, 0) }
