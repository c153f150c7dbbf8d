package load

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// quorum is the number of clients from which on what most of them say counts,
	// and mostHeard how many are heard about one pod.
	quorum    = 3
	mostHeard = 16
	// tolerated is how many times the median a client's word counts at most, and
	// toleratedNoise how many more of it by the root of the number of requests that
	// it is about: the mean of a few differs by chance. By toleratedErrors an error
	// rate may differ all the same.
	tolerated       = 1.25
	toleratedNoise  = 2
	toleratedErrors = .05
	// toleratedShare is how many times the median number of requests a client's word
	// has the weight of.
	toleratedShare = 1.5
	// mostTimesInFlight and toleratedInFlight bound the requests in flight of a
	// client, as multiples of the median and more.
	mostTimesInFlight = 3
	toleratedInFlight = 8
)

// said is what one client counted since the last Take.
type said struct {
	client string
	Counts
}

func (s said) ended() float64 { return float64(s.Succeeded) + float64(s.Failed) }

// hear adds to what a client said.
func (w *window) hear(client string, r *Counts) {
	i := slices.IndexFunc(w.said, func(s said) bool { return s.client == client })
	if i < 0 {
		if len(w.said) == mostHeard {
			return
		}
		i = len(w.said)
		w.said = append(w.said, said{client: client})
	}
	w.said[i].add(*r)
	w.said[i].Gauges = r.Gauges
}

// agreed is the window as the clients agree on it. The counts of requests and of
// responses stay what they add up to; how long they took and how many failed is what
// most clients say, so that one that lies, or sees a pod through a broken network,
// moves neither weights nor findings by much.
func (w *window) agreed() Window {
	out := w.Window
	if mean, ok := agree(w.said, 0, func(s said) (n, sum float64) { return float64(s.Responses), s.ResponseTime.Seconds() }); ok {
		out.ResponseTime = time.Duration(mean * float64(out.Responses) * float64(time.Second))
	}
	if rate, ok := agree(w.said, toleratedErrors, func(s said) (n, sum float64) { return s.ended(), float64(s.Failed) }); ok {
		ended := out.Succeeded + out.Failed
		out.Failed = min(uint64(math.Round(rate*float64(ended))), ended)
		out.Succeeded = ended - out.Failed
	}
	if len(w.said) >= quorum {
		usual := median(w.said, func(s said) float64 { return float64(s.InFlight) })
		most := int64(mostTimesInFlight*usual) + toleratedInFlight
		for _, x := range w.said {
			out.InFlight -= max(x.InFlight-most, 0)
		}
		out.InFlight = max(out.InFlight, 0)
	}
	return out
}

// agree is the mean of what clients say, each by its numbers, once what is far from
// the median of the means or of the numbers is taken for as far as is tolerated. It
// needs a quorum of clients that say anything.
func agree(all []said, slack float64, of func(said) (n, sum float64)) (mean float64, ok bool) {
	some := make([]said, 0, len(all))
	for _, s := range all {
		if n, _ := of(s); n > 0 {
			some = append(some, s)
		}
	}
	if len(some) < quorum {
		return 0, false
	}
	usual := median(some, func(s said) float64 { n, sum := of(s); return sum / n })
	many := median(some, func(s said) float64 { n, _ := of(s); return n })
	var total, weight float64
	for _, s := range some {
		n, sum := of(s)
		limit := tolerated + toleratedNoise/math.Sqrt(n)
		m := min(max(sum/n, usual/limit-slack), usual*limit+slack)
		n = min(n, many*toleratedShare)
		total, weight = total+m*n, weight+n
	}
	return total / weight, true
}

func median(all []said, of func(said) float64) float64 {
	values := make([]float64, len(all))
	for i, s := range all {
		values[i] = of(s)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
