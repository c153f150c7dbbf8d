package insight

import (
	"fmt"
	"math"
	"time"
)

// advice is what an issue means in words and figures.
type advice struct {
	message    string
	suggestion string
	lowers     bool    // the pod's weight, if it is about a pod
	factor     float64 // of that weight
}

// adviseLocked words an issue. The built-in metrics have advice of their own,
// which a rule's own suggestion replaces; what is wrong is always said in figures.
func (a *Analyzer) adviseLocked(rule *Rule, scope Scope, v verdict) advice {
	out := a.adviser(rule)(rule, scope, v)
	if rule.Suggestion != "" {
		out.suggestion = fmt.Sprintf("%s (%s)", rule.Suggestion, out.message)
	}
	out.lowers = out.lowers && (a.options.Steered == nil || a.options.Steered(scope.Service))
	if out.lowers {
		out.factor = min(max(out.factor, leastFactor), 1)
		out.message += fmt.Sprintf("; its weight is lowered to %s meanwhile", percent(out.factor))
	}
	return out
}

// adviser returns what knows most about a broken rule.
func (a *Analyzer) adviser(rule *Rule) func(*Rule, Scope, verdict) advice {
	high := rule.Compare == Above || rule.Compare == AtLeast
	switch {
	case rule.Measure != nil:
		return a.generalAdvice
	case rule.Metric == ResponseTime && high:
		return a.slowAdvice
	case rule.Metric == ErrorRate && high:
		return a.failingAdvice
	case rule.Metric == CacheHitRate && !high:
		return a.cacheAdvice
	case rule.Metric == MemoryUsage && high:
		return a.memoryAdvice
	}
	return a.generalAdvice
}

func (a *Analyzer) generalAdvice(rule *Rule, scope Scope, v verdict) advice {
	name := string(rule.Metric)
	if rule.Measure != nil {
		name = rule.Name
	}
	message := fmt.Sprintf("%s: %s is %s, which is %s %s", scope.Subject(), name, rule.Metric.unit(v.value), rule.Compare, rule.Metric.unit(rule.Threshold))
	return advice{message: message, suggestion: message}
}

// slowAdvice compares a slow pod with its peers, and looks at the queue of a
// slow service.
func (a *Analyzer) slowAdvice(rule *Rule, scope Scope, v verdict) advice {
	p95 := seconds(v.window.ResponseTimes.Quantile(.95))
	if scope.Pod == "" {
		return a.slowServiceAdvice(rule, scope, v, p95)
	}
	peers, known := a.peersLocked(scope, v.window.Period).Value(ResponseTime)
	if !known {
		return advice{
			message: fmt.Sprintf("pod %s answers in %s (p95 %s); no peer served requests to compare with", scope.Pod, seconds(v.value), p95),
			suggestion: fmt.Sprintf("Look at what pod %s waits for, or add a pod to service %s: with %d requests in flight it takes %s each",
				scope.Pod, scope.Service, v.window.InFlight, seconds(v.value)),
		}
	}
	return advice{
		message: fmt.Sprintf("pod %s answers in %s (p95 %s), its peers in %s", scope.Pod, seconds(v.value), p95, seconds(peers)),
		suggestion: fmt.Sprintf("Pod %s answers in %s, its peers in %s: drain it with `routectl pods drain %s %s --wait` (%d sessions are bound to it) and look at what it waits for",
			scope.Pod, seconds(v.value), seconds(peers), scope.Service, scope.Pod, v.window.Sessions),
		lowers: true,
		factor: peers / v.value,
	}
}

// slowServiceAdvice uses Little's law (L = λW): at the rate served now, the
// requests in flight that would take no longer than the threshold.
func (a *Analyzer) slowServiceAdvice(rule *Rule, scope Scope, v verdict, p95 string) advice {
	pods := a.podsLocked(scope.Service)
	message := fmt.Sprintf("service %s answers in %s (p95 %s) over %s", scope.Service, seconds(v.value), p95, count(pods, "pod"))
	rate, _ := v.window.Value(RequestRate)
	limit := max(1, int(rate*rule.Threshold/float64(max(pods, 1))))
	return advice{
		message: message,
		suggestion: fmt.Sprintf("Most pods of %s are slow, so no single pod is the cause: add pods (%d now, %d requests in flight), look at what they all depend on, or cap the queue with `balancing.max_connections: %d` for %s",
			scope.Service, pods, v.window.InFlight, limit, scope.Service),
	}
}

func (a *Analyzer) failingAdvice(_ *Rule, scope Scope, v verdict) advice {
	failed := fmt.Sprintf("%d of %d requests (%s)", v.window.Errors, v.window.Requests, percent(v.value))
	if scope.Pod == "" {
		return advice{
			message: fmt.Sprintf("service %s failed %s over %s", scope.Service, failed, count(a.podsLocked(scope.Service), "pod")),
			suggestion: fmt.Sprintf("Service %s failed %s and no single pod is the cause: look at its last deployment and at what all pods depend on, from %s on",
				scope.Service, failed, v.since.UTC().Format(time.TimeOnly)),
		}
	}
	peers := "no peer served requests to compare with"
	if rate, known := a.peersLocked(scope, v.window.Period).Value(ErrorRate); known {
		peers = fmt.Sprintf("its peers %s", percent(rate))
	}
	return advice{
		message: fmt.Sprintf("pod %s failed %s, %s", scope.Pod, failed, peers),
		suggestion: fmt.Sprintf("Pod %s failed %s, %s: take it out with `routectl pods drain %s %s` and look at its log from %s UTC on",
			scope.Pod, failed, peers, scope.Service, scope.Pod, v.since.UTC().Format(time.TimeOnly)),
		lowers: true,
		factor: 1 - v.value,
	}
}

func (a *Analyzer) cacheAdvice(_ *Rule, scope Scope, v verdict) advice {
	lookups := v.window.Hits + v.window.Misses
	message := fmt.Sprintf("service %s found the binding of %s of %d requests", scope.Service, percent(v.value), lookups)
	if v.window.Evictions == 0 {
		return advice{
			message: message + "; none was evicted",
			suggestion: fmt.Sprintf("No binding was evicted, so the %d misses are sessions not seen before: check that clients of %s send back what `session.key` reads, and that `session.idle_timeout` is longer than their pauses",
				v.window.Misses, scope.Service),
		}
	}
	period := v.window.Period.Round(100 * time.Millisecond)
	// What was evicted within the window would have had to fit as well; twice
	// that leaves room to grow.
	needed := roundUp(2 * float64(a.table.Size+int(v.window.Evictions)))
	return advice{
		message: fmt.Sprintf("%s; the table holds %d of at most %d bindings and evicted %d in %v",
			message, a.table.Size, a.table.Capacity, v.window.Evictions, period),
		suggestion: fmt.Sprintf("Raise `affinity.capacity` from %d to %d: %d bindings were evicted in %v, and their sessions start anew",
			a.table.Capacity, needed, v.window.Evictions, period),
	}
}

func (a *Analyzer) memoryAdvice(_ *Rule, scope Scope, v verdict) advice {
	used, limit := v.window.Usage.Memory, v.window.Usage.MemoryLimit
	message := fmt.Sprintf("%s uses %s of its memory, %s of %s", scope.Process, percent(v.value), mebibytes(used), mebibytes(limit))
	const target = .75 // of the limit, which leaves room for a collector's peak
	raised := uint64(math.Ceil(float64(used)/target/(64<<20))) * 64 << 20
	return advice{
		message: message,
		suggestion: fmt.Sprintf("Raise the memory limit of %s from %s to %s, or lower `affinity.capacity` (%d bindings are held)",
			scope.Process, mebibytes(limit), mebibytes(raised), a.table.Size),
	}
}

// peersLocked sums what the other pods of the service did in about the same time.
func (a *Analyzer) peersLocked(scope Scope, period time.Duration) *Window {
	var peers Window
	for peer, s := range a.history {
		if peer.Service != scope.Service || peer.Pod == "" || peer.Pod == scope.Pod || !s.at(0).at.Equal(a.last) {
			continue
		}
		w := s.last(peer, patience, func(w *Window) bool { return w.Period >= period })
		peers.Requests += w.Requests
		peers.Errors += w.Errors
		peers.ResponseTimes.Merge(w.ResponseTimes)
	}
	return &peers
}

func (a *Analyzer) podsLocked(service string) (n int) {
	for scope, s := range a.history {
		if scope.Service == service && scope.Pod != "" && s.at(0).at.Equal(a.last) {
			n++
		}
	}
	return n
}

// Subject names the scope as a person would: "pod chat-2".
func (s Scope) Subject() string {
	switch {
	case s.Process != "":
		return "process " + s.Process
	case s.Pod != "":
		return "pod " + s.Pod
	}
	return "service " + s.Service
}

func mebibytes(n uint64) string { return fmt.Sprintf("%d MiB", n>>20) }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// roundUp rounds to two significant digits, upwards.
func roundUp(v float64) int {
	if v < 1 {
		return 1
	}
	unit := math.Pow(10, max(0, math.Floor(math.Log10(v))-1))
	return int(math.Ceil(v/unit) * unit)
}
