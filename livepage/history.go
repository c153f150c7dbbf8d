package livepage

import (
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

const (
	// historyStep is the time that one point of a chart stands for. Load reports
	// come about once a second and not in step with us: shorter points would
	// show that beat rather than the load.
	historyStep = 5 * time.Second
	// historyPoints is the number of points kept: ten minutes.
	historyPoints = 120
)

// Series is one service's charts, oldest point first; nil is a point of which
// nothing is known, such as the error rate of no requests.
type Series struct {
	RequestRate  []*float64 `json:"request_rate"`
	ResponseTime []*float64 `json:"response_time_seconds"`
	P95          []*float64 `json:"p95_seconds"`
	ErrorRate    []*float64 `json:"error_rate"`
	Sessions     []*float64 `json:"sessions"`
}

// chart is what the page is sent of the history.
type chart struct {
	StepSeconds float64 `json:"step_seconds"`
	// Slots is the number of points that a full chart has.
	Slots    int               `json:"slots"`
	Services map[string]Series `json:"services"`
}

// history keeps the last minutes of every service that exists. Its memory is
// bounded by the number of services. Safe for concurrent use.
type history struct {
	mu      sync.Mutex
	version uint64 // of the points that are complete
	points  []point
	open    step // not complete yet
}

// step is what all services did in one step; index counts steps since the epoch.
type step struct {
	index    int64
	services map[string]analysis.PodSample // of all pods together; nil: observed only in part
}

// point is a complete step as the charts show it: the distributions of response
// times, which are most of it, are not kept.
type point struct {
	index    int64
	services map[string]figures
}

// figures of one service; NaN is not known.
type figures struct{ requestRate, responseTime, p95, errorRate, sessions float64 }

func figuresOf(sum *analysis.PodSample) figures {
	out := figures{
		requestRate: float64(sum.Requests) / historyStep.Seconds(), sessions: float64(sum.Sessions),
		responseTime: math.NaN(), p95: math.NaN(), errorRate: math.NaN(),
	}
	if sum.Requests > 0 {
		out.errorRate = float64(sum.Errors) / float64(sum.Requests)
	}
	if sum.ResponseTimes.Count() > 0 {
		out.responseTime, out.p95 = sum.ResponseTimes.Mean(), sum.ResponseTimes.Quantile(.95)
	}
	return out
}

// add adds what the pods of each service did together until now. A service that is
// not mentioned is gone, and with it its past.
func (h *history) add(now time.Time, services map[string]analysis.PodSample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	index := now.UnixNano() / int64(historyStep)
	if h.open.index == 0 {
		// The step in which we began would look like a dip: it is left out.
		h.open.index = index
	}
	if index != h.open.index {
		h.closeLocked(services)
		h.open = step{index: index, services: map[string]analysis.PodSample{}}
	}
	if h.open.services == nil {
		return
	}
	for name, more := range services {
		sum := h.open.services[name]
		sum.Requests += more.Requests
		sum.Errors += more.Errors
		sum.ResponseTimes.Merge(more.ResponseTimes)
		sum.Sessions = more.Sessions
		h.open.services[name] = sum
	}
}

// closeLocked completes the open step and forgets services that are not among
// those that exist.
func (h *history) closeLocked(exist map[string]analysis.PodSample) {
	if h.open.services == nil {
		return
	}
	if len(h.points) == historyPoints {
		h.points = slices.Delete(h.points, 0, 1)
	}
	closed := point{index: h.open.index, services: make(map[string]figures, len(h.open.services))}
	for name, sum := range h.open.services {
		closed.services[name] = figuresOf(&sum)
	}
	h.points = append(h.points, closed)
	h.forgetLocked(exist)
	h.version++
}

// forgetLocked looks for services that are gone in the last two steps only: those of
// the steps before were there then, or are forgotten already.
func (h *history) forgetLocked(exist map[string]analysis.PodSample) {
	gone := map[string]bool{}
	for _, p := range h.points[max(0, len(h.points)-2):] {
		for name := range p.services {
			if _, ok := exist[name]; !ok {
				gone[name] = true
			}
		}
	}
	for name := range gone {
		for _, p := range h.points {
			delete(p.services, name)
		}
	}
}

// chart returns the complete points and their version, which changes with them.
func (h *history) chart() (chart, uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := chart{StepSeconds: historyStep.Seconds(), Slots: historyPoints, Services: map[string]Series{}}
	if len(h.points) == 0 {
		return out, h.version
	}
	end := h.points[len(h.points)-1].index
	start := max(h.points[0].index, end-historyPoints+1)
	for _, p := range h.points {
		if p.index < start {
			continue
		}
		for name, sum := range p.services {
			series, ok := out.Services[name]
			if !ok {
				series = newSeries(int(end - start + 1))
				out.Services[name] = series
			}
			series.set(int(p.index-start), sum)
		}
	}
	return out, h.version
}

func (h *history) current() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.version
}

func newSeries(n int) Series {
	line := func() []*float64 { return make([]*float64, n) }
	return Series{RequestRate: line(), ResponseTime: line(), P95: line(), ErrorRate: line(), Sessions: line()}
}

func (s Series) set(i int, f figures) {
	s.RequestRate[i] = rounded(f.requestRate)
	s.ResponseTime[i] = rounded(f.responseTime)
	s.P95[i] = rounded(f.p95)
	s.ErrorRate[i] = rounded(f.errorRate)
	s.Sessions[i] = rounded(f.sessions)
}

// rounded keeps four digits: a chart shows no more, and they are sent often.
func rounded(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		return nil
	}
	return &short
}
