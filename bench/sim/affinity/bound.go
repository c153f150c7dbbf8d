package simulate

import "math"

// BestShare is the share of returning requests that even the best table of the
// capacity breaks, if it knows of an id when it was last used and whether it was
// used more than once. In this workload there is no more to know: pauses are
// independent, so that the number of requests says nothing about the next one.
//
// As the chance that an id comes back in the next moment falls with its age,
// such a table keeps ids that were used once up to one age and the others up to another,
// those that together fill it and break least. That a table of fixed size keeps
// entries up to an age of its own is Che's approximation (Che, Tung and Wang,
// 2002), which is exact for large tables.
func (w Workload) BestShare(capacity int) float64 {
	w = w.withDefaults()
	best := 1.0
	for waiting := w.MaxPause.Seconds(); waiting > 0.1; waiting *= 0.98 {
		if size, _ := w.keep(waiting, 0.01); size > float64(capacity) {
			continue
		}
		best = min(best, w.fill(capacity, func(protected float64) (float64, float64) { return waiting, protected }))
	}
	return best
}

// LRUShare is the same for a table that drops the least recently used id.
func (w Workload) LRUShare(capacity int) float64 {
	return w.withDefaults().fill(capacity, func(age float64) (float64, float64) { return age, age })
}

// fill returns what is broken when the ages, which grow with x, fill the table.
func (w Workload) fill(capacity int, ages func(x float64) (waiting, protected float64)) (broken float64) {
	low, high := 0.01, 1e6
	for range 60 {
		x := math.Sqrt(low * high)
		if size, _ := w.keep(ages(x)); size > float64(capacity) {
			high = x
		} else {
			low = x
		}
	}
	_, broken = w.keep(ages(low))
	return broken
}

// keep returns how many ids there are on average in a table that keeps waiting
// and protected ones up to these ages in seconds, and the share of returning
// requests that it breaks.
func (w Workload) keep(waiting, protected float64) (size, broken float64) {
	more := 1 - 1/w.Requests // the chance that a session has another request
	lostWaiting, lostProtected := more*w.longer(waiting), more*w.longer(protected)
	// Of a session's requests these leave a waiting id: the first one and those
	// that found nothing.
	first := (1 + w.Requests*lostProtected) / (1 - lostWaiting + lostProtected)
	stay := func(age float64) float64 {
		return more*w.meanPauseUntil(min(age, w.MaxPause.Seconds())) + (1-more)*age
	}
	perSession := first*stay(waiting) + (w.Requests-first)*stay(protected) + w.Bots*waiting
	sessions := float64(w.Live) / w.meanDuration().Seconds()
	return sessions * perSession, (first - 1) / (w.Requests - 1)
}
