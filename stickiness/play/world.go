package play

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/pod"
)

// always is before and after every run.
const always = 24 * time.Hour

// world notes what was done to pods and gateways. What takes away is noted before
// it is done, and what gives back after it was done.
type world struct {
	began time.Time

	mu       sync.Mutex
	pods     map[string]*life
	gateways []*life
	marks    []history.Mark
}

// life is one pod's or gateway's.
type life struct {
	causes   map[string]bool // why it cannot serve
	since    time.Duration   // when it could last begin to
	able     []history.Span
	draining []history.Span
	ends     []time.Duration
}

func newWorld(began time.Time, pods []string, gateways int) *world {
	w := &world{began: began, pods: map[string]*life{}}
	for _, name := range pods {
		w.pods[name] = &life{causes: map[string]bool{}, since: -always}
	}
	for range gateways {
		w.gateways = append(w.gateways, &life{causes: map[string]bool{}, since: -always})
	}
	return w
}

func (w *world) now() time.Duration { return time.Since(w.began) }

// podLocked is the life of a pod, which begins with its first mention.
func (w *world) podLocked(name string) *life {
	if w.pods[name] == nil {
		w.pods[name] = &life{causes: map[string]bool{notThere: true}}
	}
	return w.pods[name]
}

// down notes that the pod is about to be unable to serve, for a cause.
func (w *world) down(name, cause string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.podLocked(name).down(cause, w.now())
}

// up notes that a cause is gone.
func (w *world) up(name, cause string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.podLocked(name).up(cause, w.now())
}

// ends notes that the pod's process is about to end.
func (w *world) ends(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.podLocked(name)
	l.ends = append(l.ends, w.now())
}

// drains notes that the pod is listed as draining.
func (w *world) drains(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.podLocked(name)
	l.draining = append(l.draining, history.Span{From: w.now(), Until: always})
}

func (w *world) gatewayDown(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gateways[i].down("killed", w.now())
}

func (w *world) gatewayUp(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gateways[i].up("killed", w.now())
}

func (w *world) mark(from time.Duration, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marks = append(w.marks, history.Mark{Span: history.Span{From: from, Until: w.now()}, Text: text})
}

func (l *life) down(cause string, now time.Duration) {
	if len(l.causes) == 0 {
		l.able = append(l.able, history.Span{From: l.since, Until: now})
	}
	l.causes[cause] = true
}

func (l *life) up(cause string, now time.Duration) {
	delete(l.causes, cause)
	if len(l.causes) == 0 {
		l.since = now
	}
}

func (l *life) spans() []history.Span {
	out := slices.Clone(l.able)
	if len(l.causes) == 0 {
		out = append(out, history.Span{From: l.since, Until: always})
	}
	return out
}

// history is what is known at the end.
func (w *world) history(secrets map[string][]byte) history.History {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := history.History{Pods: map[string]history.Pod{}, Marks: w.marks}
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		l := w.pods[name]
		h.Pods[name] = history.Pod{Secret: secrets[name], Able: l.spans(), Draining: l.draining, Ends: l.ends}
	}
	for _, l := range w.gateways {
		h.Gateways = append(h.Gateways, l.spans())
	}
	return h
}

// spans are the stalls of at least a length, in the run's own time.
func (w *world) spans(stalls []pod.Stall, least time.Duration) []history.Span {
	var out []history.Span
	for _, s := range stalls {
		span := history.Span{From: time.Unix(0, s.From).Sub(w.began), Until: time.Unix(0, s.Until).Sub(w.began)}
		if span.Until-span.From >= least {
			out = append(out, span)
		}
	}
	return out
}
