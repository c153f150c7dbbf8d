package analysis

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	statefulroute "github.com/stateful-route/stateful-route"
)

// advice is what an issue means in words and figures.
type advice struct {
	message    string
	suggestion string
	lowers     bool    // the pod's weight, unless most pods look bad
	factor     float64 // of that weight
}

// adviseLocked words an issue. The built-in metrics have advice of their own,
// which a rule's own suggestion replaces; what is wrong is always said in figures.
func (a *Analyzer) adviseLocked(rule *Rule, scope Scope, v evaluation) advice {
	out := a.adviser(rule)(rule, scope, v)
	if rule.Suggestion != "" {
		out.suggestion = fmt.Sprintf("%s (%s)", rule.Suggestion, out.message)
	}
	out.lowers = out.lowers && (a.options.FollowsLoad == nil || a.options.FollowsLoad(scope.Service))
	out.factor = min(max(out.factor, leastFactor), 1)
	return out
}

// adviser returns what knows most about a broken rule.
func (a *Analyzer) adviser(rule *Rule) func(*Rule, Scope, evaluation) advice {
	breaks := rule.Compare.side()
	switch {
	case rule.Name == FlappingPod && rule.Measure != nil:
		return a.flappingAdvice
	case rule.Measure != nil:
		return a.generalAdvice
	case rule.Metric == ResponseTime && breaks == high:
		return a.slowAdvice
	case rule.Metric == ErrorRate && breaks == high:
		return a.failingAdvice
	case rule.Metric == CacheHitRate && breaks == low:
		return a.cacheAdvice
	case rule.Metric == MemoryUsage && breaks == high:
		return a.memoryAdvice
	}
	return a.generalAdvice
}

func (a *Analyzer) generalAdvice(rule *Rule, scope Scope, v evaluation) advice {
	name := string(rule.Metric)
	if rule.Measure != nil {
		name = rule.Name
	}
	message := fmt.Sprintf("%s: %s is %s, which is %s %s", scope.Subject(), name, rule.unit(v.value), rule.Compare, rule.unit(rule.Threshold))
	return advice{message: message, suggestion: a.generalSuggestionLocked(rule, scope, v)}
}

// generalSuggestionLocked is for a rule that says nothing of its own.
func (a *Analyzer) generalSuggestionLocked(rule *Rule, scope Scope, v evaluation) string {
	breaks := rule.Compare.side()
	value, limit := rule.unit(v.value), rule.unit(rule.Threshold)
	switch {
	case rule.Measure != nil:
	case rule.Metric == RequestRate && breaks == high:
		return fmt.Sprintf("%s gets %s (limit %s): add pods to service %s (%d now)", capitalized(scope.Subject()), value, limit, scope.Service, a.podsLocked(scope.Service))
	case rule.Metric == RequestRate:
		return fmt.Sprintf("%s gets only %s (at least %s expected): `routectl envoys` and `routectl pods %s` show whether Envoys are connected and pods ready",
			capitalized(scope.Subject()), value, limit, shellQuoted(scope.Service))
	case rule.Metric == ConnectionCount && breaks == high:
		return fmt.Sprintf("%s has %s requests in flight (limit %s): add pods to service %s (%d now), or cap each with `balancing.max_connections`",
			capitalized(scope.Subject()), value, limit, scope.Service, a.podsLocked(scope.Service))
	case rule.Metric == Sessions && breaks == high:
		return fmt.Sprintf("%s has %s sessions (limit %s): add pods to service %s (%d now), or cap each with `balancing.max_sessions`",
			capitalized(scope.Subject()), value, limit, scope.Service, a.podsLocked(scope.Service))
	case rule.Metric == CPUUsage && breaks == high:
		return fmt.Sprintf("%s uses %.2g of %.2g cores: give it more, or run another replica", capitalized(scope.Subject()), v.window.Usage.CPU, v.window.Usage.CPULimit)
	}
	look := "`routectl status`"
	if scope.Service != "" {
		look = fmt.Sprintf("`routectl pods %s`", shellQuoted(scope.Service))
	}
	return fmt.Sprintf("%s broke the rule %q at %s UTC: look at what changed then, at %s and the process's log; where %s is as it should be, change the rule's threshold (%s)",
		capitalized(scope.Subject()), rule.Name, v.since.UTC().Format(time.TimeOnly), look, value, limit)
}

// slowAdvice compares a slow pod with its peers, and looks at the queue of a
// slow service.
func (a *Analyzer) slowAdvice(rule *Rule, scope Scope, v evaluation) advice {
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
		suggestion: fmt.Sprintf("Pod %s answers in %s, its peers in %s: %s, and look at what it waits for",
			scope.Pod, seconds(v.value), seconds(peers), slowRemedy(scope, &v.window)),
		lowers: true,
		factor: peers / v.value,
	}
}

// slowRemedy lets the sessions of a slow pod end where they are; one that drains
// already has only the harder way left.
func slowRemedy(scope Scope, w *Window) string {
	if w.State != statefulroute.Ready {
		return fmt.Sprintf("it is %v already; %s", w.State, takeOut(scope, w))
	}
	return fmt.Sprintf("drain it with %s (%d sessions are bound to it)", order("drain", scope, "--wait"), w.Sessions)
}

// takeOut ends a pod's service at once. A drain would not: bound sessions stay.
func takeOut(scope Scope, w *Window) string {
	if !w.State.ServesBound() {
		return "no new request is sent to it"
	}
	return fmt.Sprintf("%s takes it out at once (its %d sessions are rebound or refused, as `session.on_pod_loss` says)",
		order("maintenance", scope), w.Sessions)
}

// order is a command about a pod, for a shell, in backticks.
func order(verb string, scope Scope, flags ...string) string {
	words := append([]string{"routectl pods", verb, shellQuoted(scope.Service), shellQuoted(scope.Pod)}, flags...)
	if strings.HasPrefix(scope.Service, "-") || strings.HasPrefix(scope.Pod, "-") {
		words = slices.Concat(words[:2], flags, []string{"--"}, words[2:4])
	}
	return "`" + strings.Join(words, " ") + "`"
}

// slowServiceAdvice uses Little's law (L = λW): at the rate served now, the
// requests in flight that would take no longer than the threshold.
func (a *Analyzer) slowServiceAdvice(rule *Rule, scope Scope, v evaluation, p95 string) advice {
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

func (a *Analyzer) failingAdvice(_ *Rule, scope Scope, v evaluation) advice {
	failed := fmt.Sprintf("%d of %d requests (%s)", v.window.Errors, v.window.Requests, percent(v.value))
	if scope.Pod == "" {
		return advice{
			message: fmt.Sprintf("service %s failed %s over %s", scope.Service, failed, count(a.podsLocked(scope.Service), "pod")),
			suggestion: fmt.Sprintf("Service %s failed %s and no single pod is the cause: look at its last deployment and at what all pods depend on, from %s on",
				scope.Service, failed, v.since.UTC().Format(time.TimeOnly)),
		}
	}
	peers := "no peer served requests to compare with"
	rate, known := a.peersLocked(scope, v.window.Period).Value(ErrorRate)
	if known {
		peers = fmt.Sprintf("its peers %s", percent(rate))
	}
	return advice{
		message: fmt.Sprintf("pod %s failed %s, %s", scope.Pod, failed, peers),
		suggestion: fmt.Sprintf("Pod %s failed %s, %s: %s; look at its log from %s UTC on",
			scope.Pod, failed, peers, takeOut(scope, &v.window), v.since.UTC().Format(time.TimeOnly)),
		lowers: known,
		factor: 1 - v.value,
	}
}

// flappingAdvice is about a pod that passes and fails its health checks in turn.
func (a *Analyzer) flappingAdvice(_ *Rule, scope Scope, v evaluation) advice {
	times := fmt.Sprintf("%d times within a minute", v.window.Flaps)
	return advice{
		message: fmt.Sprintf("pod %s began to fail its health checks %s", scope.Pod, times),
		suggestion: fmt.Sprintf("Pod %s began to fail its health checks %s and passed them in between: look at its log and at its limits; %s. "+
			"Where it only answers too late now and then, raise `health_check.timeout` or `unhealthy_after` of service %s",
			scope.Pod, times, takeOut(scope, &v.window), scope.Service),
	}
}

func (a *Analyzer) cacheAdvice(_ *Rule, scope Scope, v evaluation) advice {
	lookups := v.window.Hits + v.window.Misses
	message := fmt.Sprintf("service %s found the binding of %s of %d requests", scope.Service, percent(v.value), lookups)
	period := v.window.Period.Round(100 * time.Millisecond)
	held := fmt.Sprintf("the table holds %d of at most %d bindings", a.table.Size, a.table.Capacity)
	if n := a.table.Replicas; n > 1 {
		held = fmt.Sprintf("the tables of %d extprocs hold %d of at most %d bindings", n, a.table.Size, a.table.Capacity)
	}
	switch {
	case v.window.Evictions > 0:
		return advice{
			message: fmt.Sprintf("%s; %s and evicted %d in %v", message, held, v.window.Evictions, period),
			suggestion: fmt.Sprintf("%s: %d bindings were evicted in %v, and sessions whose pod was forgotten start anew",
				// What was evicted within the window would have had to fit as well.
				a.raiseCapacityLocked(a.table.Size+int(v.window.Evictions)), v.window.Evictions, period),
		}
	case a.table.full():
		return advice{
			message: fmt.Sprintf("%s; %s: it is full, and its strategy gives none up for a new one", message, held),
			suggestion: fmt.Sprintf("%s, or choose an `affinity.strategy` that evicts (lru): the table is full and refuses, so that new sessions are served unbound",
				// Each of these look-ups may have been a session that wants in.
				a.raiseCapacityLocked(a.table.Size+int(min(v.window.Misses, uint64(a.table.Size))))),
		}
	}
	return advice{
		message: message + "; none was evicted",
		suggestion: fmt.Sprintf("No binding was evicted, so the %d misses are sessions not seen before: check that clients of %s send back what `session.key` reads, and that `session.idle_timeout` is longer than their pauses",
			v.window.Misses, scope.Service),
	}
}

// full allows for parts of the table that fill less evenly than the whole.
func (t TableSample) full() bool { return t.Capacity > 0 && 20*t.Size >= 19*t.Capacity }

// raiseCapacityLocked advises room for twice what would have had to fit. The
// setting is that of one process, the figures are those of all.
func (a *Analyzer) raiseCapacityLocked(bindings int) string {
	replicas := max(a.table.Replicas, 1)
	needed := roundUp(2 * float64(bindings) / float64(replicas))
	each := ""
	if replicas > 1 {
		each = fmt.Sprintf(" in each of %d extprocs", replicas)
	}
	return fmt.Sprintf("Raise `affinity.capacity` from %d to %d%s", a.table.Capacity/replicas, needed, each)
}

func (a *Analyzer) memoryAdvice(_ *Rule, scope Scope, v evaluation) advice {
	used, limit := v.window.Usage.Memory, v.window.Usage.MemoryLimit
	message := fmt.Sprintf("%s uses %s of its memory, %s of %s", scope.Process, percent(v.value), mebibytes(used), mebibytes(limit))
	const target = .75 // of the limit, which leaves room for a collector's peak
	raised := uint64(math.Ceil(float64(used)/target/(64<<20))) * 64 << 20
	less := fmt.Sprintf("keep fewer than %d samples (`analyzer.history`)", a.options.History)
	if holdsBindings(scope.Process) {
		less = fmt.Sprintf("lower `affinity.capacity` (%d bindings are held)", a.table.Size)
		if n := a.table.Replicas; n > 1 {
			less = fmt.Sprintf("lower `affinity.capacity` (%d bindings are held by %d extprocs)", a.table.Size, n)
		}
	}
	return advice{
		message: message,
		suggestion: fmt.Sprintf("Raise the memory limit of %s from %s to %s, or %s",
			scope.Process, mebibytes(limit), mebibytes(raised), less),
	}
}

// holdsBindings reports whether a process is an extproc: those of xds-server are
// its history.
func holdsBindings(process string) bool {
	return process == "extproc" || strings.HasPrefix(process, "extproc/")
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

// shellWord is what a shell reads as the word it is.
var shellWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./][A-Za-z0-9_@%+=:,./-]*$`)

// shellQuoted makes a name one word of a shell's command: names of pods may hold
// anything that can be printed.
func shellQuoted(name string) string {
	if shellWord.MatchString(name) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// capitalized begins a sentence.
func capitalized(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[n:]
}
