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

// word is what one client said of a pod since the last Take.
type word struct {
	client          string
	ended, failed   float64
	responses, took float64 // seconds
	inFlight        int64
}

// hear adds to what a client said.
func (w *window) hear(client string, r *podReport) {
	i := slices.IndexFunc(w.words, func(x word) bool { return x.client == client })
	if i < 0 {
		if len(w.words) == mostHeard {
			return
		}
		i = len(w.words)
		w.words = append(w.words, word{client: client})
	}
	x := &w.words[i]
	x.ended += float64(r.succeeded) + float64(r.failed)
	x.failed += float64(r.failed)
	x.responses += float64(r.responses)
	x.took += r.seconds
	x.inFlight = r.gauge.inFlight
}

// agreed is the window as the clients agree on it. The counts of requests and of
// responses stay what they add up to; how long they took and how many failed is what
// most clients say, so that one that lies, or sees a pod through a broken network,
// moves neither weights nor findings by much.
func (w *window) agreed() Window {
	out := w.Window
	if mean, ok := agree(w.words, 0, func(x word) (n, sum float64) { return x.responses, x.took }); ok {
		out.ResponseTime = time.Duration(mean * float64(out.Responses) * float64(time.Second))
	}
	if rate, ok := agree(w.words, toleratedErrors, func(x word) (n, sum float64) { return x.ended, x.failed }); ok {
		ended := out.Succeeded + out.Failed
		out.Failed = min(uint64(math.Round(rate*float64(ended))), ended)
		out.Succeeded = ended - out.Failed
	}
	if len(w.words) >= quorum {
		usual := median(w.words, func(x word) float64 { return float64(x.inFlight) })
		most := int64(mostTimesInFlight*usual) + toleratedInFlight
		for _, x := range w.words {
			out.InFlight -= max(x.inFlight-most, 0)
		}
		out.InFlight = max(out.InFlight, 0)
	}
	return out
}

// agree is the mean of what clients say, each by its numbers, once what is far from
// the median of the means or of the numbers is taken for as far as is tolerated. It
// needs a quorum of clients that say anything.
func agree(words []word, slack float64, of func(word) (n, sum float64)) (mean float64, ok bool) {
	said := make([]word, 0, len(words))
	for _, x := range words {
		if n, _ := of(x); n > 0 {
			said = append(said, x)
		}
	}
	if len(said) < quorum {
		return 0, false
	}
	usual := median(said, func(x word) float64 { n, sum := of(x); return sum / n })
	many := median(said, func(x word) float64 { n, _ := of(x); return n })
	var total, weight float64
	for _, x := range said {
		n, sum := of(x)
		limit := tolerated + toleratedNoise/math.Sqrt(n)
		m := min(max(sum/n, usual/limit-slack), usual*limit+slack)
		n = min(n, many*toleratedShare)
		total, weight = total+m*n, weight+n
	}
	return total / weight, true
}

func median(words []word, of func(word) float64) float64 {
	values := make([]float64, len(words))
	for i, x := range words {
		values[i] = of(x)
	}
	slices.SortFunc(values, cmp.Compare[float64])
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
