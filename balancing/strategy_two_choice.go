package balancing

// peakEWMA takes the cheaper of two random pods by peak response time ×
// (in-flight + 1), after Twitter Finagle's PeakEwma: the average rises at once to a
// slow response and falls slowly. Two choices keep replicas from herding and cost
// the same among ten pods or ten thousand (Mitzenmacher 2001).
type peakEWMA struct{}

func newPeakEWMA(Options) (Strategy, error) { return peakEWMA{}, nil }

func (peakEWMA) Pick(_ string, pods View) int {
	a, b := pods.Sample()
	if b < 0 {
		return a
	}
	if pods.peakCost(b) < pods.peakCost(a) {
		return b
	}
	return a
}

func (v View) peakCost(i int) float64 {
	p := v.snap.pods[i]
	peak := v.latency(p, loadFloat(&p.peak), v.meanLatency())
	return peak * float64(p.inFlight.Load()+1) / v.Weight(i) * v.penalty(i)
}

// hotQuantile is the share of pods that count as cold by their in-flight
// requests. Prequal's default is 2^-0.25 = 0.84.
const hotQuantile = 0.84

// prequalHCL is the hot-cold lexicographic rule of Prequal (Wydrowski et al.: Load
// is not what you should balance, NSDI 2024) on two random pods: a cold pod beats
// a hot one; of two cold ones the faster wins, of two hot ones the less busy.
// Prequal has to probe for these facts; here every exchange tells them.
type prequalHCL struct{}

func newPrequalHCL(Options) (Strategy, error) { return prequalHCL{}, nil }

func (prequalHCL) Pick(_ string, pods View) int { return pods.hotCold() }

func (v View) hotCold() int {
	a, b := v.Sample()
	if b < 0 {
		return a
	}
	hot := v.HotLoad()
	loadA, loadB := v.Load(a), v.Load(b)
	hotA, hotB := loadA > hot || v.failing(a), loadB > hot || v.failing(b)
	switch {
	case hotA && hotB:
		if (loadB+1)*v.penalty(b) < (loadA+1)*v.penalty(a) {
			return b
		}
	case hotA:
		return b
	case !hotB:
		if v.coldCost(b) < v.coldCost(a) {
			return b
		}
	}
	return a
}

// failing reports whether pod i fails often enough to count as hot: failing at
// once is the surest way to look cold.
func (v View) failing(i int) bool { return v.penalty(i) > failingPenalty }

const failingPenalty = 4

func (v View) coldCost(i int) float64 {
	p := v.snap.pods[i]
	return v.latency(p, loadFloat(&p.latency), v.meanLatency()) * v.penalty(i)
}
