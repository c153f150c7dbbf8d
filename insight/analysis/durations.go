package analysis

import (
	"math"
	"slices"
	"time"
)

// Durations summarises any number of durations in a few bytes: their number,
// their sum and a sparse logarithmic histogram with four buckets per power of
// two, from which a quantile is read with an error of at most 9 %. The zero
// value is empty and ready to use; copying one and then adding to either copy is
// not allowed.
type Durations struct {
	count   uint64
	sum     float64         // seconds: n × d of a remote report must not overflow
	buckets []durationCount // ascending, only those in use
}

type durationCount struct {
	bucket uint8
	n      uint64
}

const durationsPerOctave = 4

// durationBucket maps a duration to its bucket; 63 octaves of nanoseconds fit.
func durationBucket(d time.Duration) uint8 {
	return uint8(durationsPerOctave * math.Log2(float64(max(d, 1))))
}

// durationValue is the geometric middle of a bucket, in seconds.
func durationValue(bucket uint8) float64 {
	return math.Exp2((float64(bucket)+.5)/durationsPerOctave) / 1e9
}

// Add counts one duration.
func (d *Durations) Add(v time.Duration) { d.AddN(v, 1) }

// AddN counts n durations of about v, such as the content of one bucket of
// another histogram.
func (d *Durations) AddN(v time.Duration, n uint64) {
	if n == 0 {
		return
	}
	d.count += n
	d.sum += float64(n) * max(v, 0).Seconds()
	d.addBucket(durationBucket(v), n)
}

func (d *Durations) addBucket(bucket uint8, n uint64) {
	i, found := slices.BinarySearchFunc(d.buckets, bucket, func(c durationCount, b uint8) int { return int(c.bucket) - int(b) })
	if found {
		d.buckets[i].n += n
		return
	}
	d.buckets = slices.Insert(d.buckets, i, durationCount{bucket, n})
}

// BucketedDurations returns what a histogram elsewhere knows: counts[i] durations
// of at most bounds[i] seconds and more than the bound before, those past the
// last bound in one more count, and the sum of all.
func BucketedDurations(bounds []float64, counts []uint64, sum time.Duration) Durations {
	var d Durations
	lower := 0.0
	for i, n := range counts {
		upper := 2 * lower // of the open bucket, a guess
		if i < len(bounds) {
			upper = bounds[i]
		}
		middle := math.Sqrt(max(lower, upper/2) * upper)
		d.AddN(time.Duration(middle*float64(time.Second)), n)
		lower = upper
	}
	if d.count > 0 {
		d.sum = max(sum, 0).Seconds()
	}
	return d
}

// Merge adds what another holds.
func (d *Durations) Merge(from Durations) {
	d.count += from.count
	d.sum += from.sum
	if len(d.buckets) == 0 {
		d.buckets = slices.Clone(from.buckets)
		return
	}
	at := 0
	for _, c := range from.buckets {
		for at < len(d.buckets) && d.buckets[at].bucket < c.bucket {
			at++
		}
		if at < len(d.buckets) && d.buckets[at].bucket == c.bucket {
			d.buckets[at].n += c.n
		} else {
			d.buckets = slices.Insert(d.buckets, at, c)
		}
	}
}

// Count is the number of durations added.
func (d Durations) Count() uint64 { return d.count }

// Mean is the average in seconds, 0 when nothing was added.
func (d Durations) Mean() float64 {
	if d.count == 0 {
		return 0
	}
	return d.sum / float64(d.count)
}

// Quantile is the duration in seconds that the share q, from 0 to 1, does not
// exceed; 0 when nothing was added.
func (d Durations) Quantile(q float64) float64 {
	rank := uint64(math.Ceil(q * float64(d.count)))
	seen := uint64(0)
	for _, c := range d.buckets {
		if seen += c.n; seen >= rank {
			return durationValue(c.bucket)
		}
	}
	return 0
}

// above counts the durations longer than limit seconds, within a bucket's width.
func (d Durations) above(limit float64) (n uint64) {
	for _, c := range d.buckets {
		if durationValue(c.bucket) > limit {
			n += c.n
		}
	}
	return n
}
