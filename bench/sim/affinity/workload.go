package simulate

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"time"
)

// Workload describes the sessions that come by.
//
// Sessions begin as a Poisson stream. A session has a geometric number of
// requests with log-normal pauses between them: most pauses are short, a few
// are very long. The defaults of Requests and Sigma are chosen so that plain
// LRU breaks about 1.5 % and 5.8 % of the returning requests at four and two
// times as much capacity as sessions are live, a set of figures that the
// project's design starts from.
type Workload struct {
	// Seed makes a run repeatable.
	Seed uint64
	// Live is the mean number of sessions that are between their first and
	// their last request.
	Live int
	// Requests is the mean number of requests in a session; 0 means 3.8.
	Requests float64
	// Pause is the median pause between two requests of a session; 0 means 5 s.
	Pause time.Duration
	// Sigma is the standard deviation of the pause's logarithm; 0 means 1.6.
	Sigma float64
	// MaxPause cuts the pauses, so that idle timeouts above it break nothing;
	// 0 means 25 minutes.
	MaxPause time.Duration
	// Bots is the number of made-up ids, each used once, for each session that
	// begins; 0 means none.
	Bots float64
	// Turnovers is how many mean session durations a run lasts, the first half
	// of which warms the table up and is not counted; 0 means 24. A flood begins
	// after the first half.
	Turnovers int
}

func (w Workload) withDefaults() Workload {
	if w.Requests == 0 {
		w.Requests = 3.8
	}
	if w.Pause == 0 {
		w.Pause = 5 * time.Second
	}
	if w.Sigma == 0 {
		w.Sigma = 1.6
	}
	if w.MaxPause == 0 {
		w.MaxPause = 25 * time.Minute
	}
	if w.Turnovers == 0 {
		w.Turnovers = DefaultTurnovers
	}
	return w
}

// duration is how long a run lasts.
func (w Workload) duration() time.Duration { return time.Duration(w.Turnovers) * w.meanDuration() }

// Event is one request.
type Event struct {
	// At is the time since the run began.
	At time.Duration
	// ID is the session's. A bot's ids are never used again.
	ID uint64
	// Returning is false for a session's first request; Last is true for its
	// last one.
	Returning, Last bool
	Bot             bool
}

// stream yields a workload's requests in the order of time.
type stream struct {
	w        Workload
	rnd      *rand.Rand
	pending  agenda
	nextNew  time.Duration
	gap      float64 // mean seconds between two new ids, bots included
	sessions uint64
}

// meanDuration is how long a session lasts on average.
func (w Workload) meanDuration() time.Duration {
	return time.Duration((w.Requests - 1) * w.meanPause() * float64(time.Second))
}

// meanPause is the mean of the cut log-normal pause in seconds.
func (w Workload) meanPause() float64 {
	return w.meanPauseUntil(w.MaxPause.Seconds())
}

// meanPauseUntil is the mean of the pause cut at t seconds, t at most MaxPause.
func (w Workload) meanPauseUntil(t float64) float64 {
	mu, s := math.Log(w.Pause.Seconds()), w.Sigma
	z := (math.Log(t) - mu) / s
	return math.Exp(mu+s*s/2)*normal(z-s) + t*(1-normal(z))
}

// longer is the probability of a pause above t seconds.
func (w Workload) longer(t float64) float64 {
	if t >= w.MaxPause.Seconds() {
		return 0
	}
	return 1 - normal((math.Log(t)-math.Log(w.Pause.Seconds()))/w.Sigma)
}

// normal is the standard normal distribution.
func normal(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }

func newStream(w Workload) *stream {
	rate := float64(w.Live) / w.meanDuration().Seconds() // Little's law
	return &stream{
		w:   w,
		rnd: rand.New(rand.NewPCG(w.Seed, 0x5eed)),
		gap: 1 / (rate * (1 + w.Bots)),
	}
}

func (s *stream) next() Event {
	if len(s.pending) > 0 && s.pending[0].At <= s.nextNew {
		e := s.pending[0]
		s.follow(&s.pending[0])
		return e
	}
	e := s.begin()
	s.nextNew += time.Duration(s.rnd.ExpFloat64() * s.gap * float64(time.Second))
	return e
}

// begin makes the first request of a session, or the only one of a bot.
func (s *stream) begin() Event {
	s.sessions++
	e := Event{At: s.nextNew, ID: s.sessions}
	if e.Bot = s.rnd.Float64()*(1+s.w.Bots) >= 1; e.Bot {
		e.Last = true
		return e
	}
	if e.Last = s.ends(); !e.Last {
		heap.Push(&s.pending, Event{At: e.At + s.pause(), ID: e.ID, Returning: true, Last: s.ends()})
	}
	return e
}

// follow replaces the earliest pending request by the session's next one.
func (s *stream) follow(e *Event) {
	if e.Last {
		heap.Pop(&s.pending)
		return
	}
	e.At += s.pause()
	e.Last = s.ends()
	heap.Fix(&s.pending, 0)
}

func (s *stream) ends() bool { return s.rnd.Float64() < 1/s.w.Requests }

func (s *stream) pause() time.Duration {
	d := s.w.Pause.Seconds() * math.Exp(s.w.Sigma*s.rnd.NormFloat64())
	return min(time.Duration(d*float64(time.Second)), s.w.MaxPause)
}

// agenda is a heap of the requests to come, by time.
type agenda []Event

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].At < a[j].At }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(Event)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	*a = (*a)[:last]
	return e
}
