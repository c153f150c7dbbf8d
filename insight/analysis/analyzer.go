package analysis

import (
	"cmp"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// AnalyzerOptions configures an Analyzer.
type AnalyzerOptions struct {
	// Interval is the expected time between two samples. 0 means 5 s.
	Interval time.Duration
	// History is the number of samples that the history of each pod, service and
	// process covers, the older ones summed up in at most 61 periods. 0 means 720:
	// an hour at the default interval.
	History int
	// Historical turns the search for trends and changes on; it is done when a
	// report is asked for, not at each sample.
	Historical bool
	// FollowsLoad says whether findings lower the weights of a service's pods; nil
	// means that they always do. It must not call the analyzer.
	FollowsLoad func(service string) bool
	// Rules join the built-in ones; one that has a built-in name replaces it.
	Rules []Rule
}

func (o *AnalyzerOptions) validate() error {
	if o.Interval < 0 || o.History < 0 {
		return fmt.Errorf("analysis: negative analyzer interval %v or history %d", o.Interval, o.History)
	}
	o.Interval = cmp.Or(o.Interval, 5*time.Second)
	o.History = cmp.Or(o.History, 720)
	return nil
}

// Analyzer keeps a bounded history of what was observed and holds issues open
// for as long as it breaks a rule. It has no clock and no goroutine: whoever
// owns it passes samples and times in, and acts on the events that come out.
// Its methods may be called from any goroutine.
//
// A sample costs time in proportion to the pods and issues there are. What it
// leads to is published at once, and read without a lock; figures of the whole
// history are worked out when a report asks for them, from a snapshot, so that
// no reader holds a sample up for longer than the snapshot takes.
//
// The history of a pod takes at most 12 samples whole and 61 sums of several, in
// all up to 26 KB where response times come in 17 classes.
type Analyzer struct {
	options AnalyzerOptions
	rules   []Rule

	mu        sync.Mutex
	services  map[string]*serviceHistory
	processes map[string]*series
	issues    map[issueKey]*issueState
	table     TableSample
	last      time.Time // when the newest sample was taken; zero before the first

	published atomic.Pointer[view]
	history   historyReports
}

// serviceHistory is the history of one service and its pods.
type serviceHistory struct {
	total series
	pods  map[string]*series

	// Of the newest sample:
	current int                      // pods in it
	peers   map[time.Duration]Window // what all of them did, in the time before it; made when asked for
}

// NewAnalyzer returns an analyzer that has observed nothing.
func NewAnalyzer(o AnalyzerOptions) (*Analyzer, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	rules, err := mergeRules(o.Rules)
	if err != nil {
		return nil, err
	}
	a := &Analyzer{
		options:   o,
		rules:     rules,
		services:  make(map[string]*serviceHistory),
		processes: make(map[string]*series),
		issues:    make(map[issueKey]*issueState),
		history:   historyReports{known: make(map[string]historyReport)},
	}
	a.published.Store(&view{})
	return a, nil
}

// Observe adds what happened since the sample before and returns the issues
// that opened or were resolved by it, the most severe first. A sample that is
// not later than the one before is ignored.
func (a *Analyzer) Observe(now time.Time, s Sample) []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	span := a.options.Interval
	if !a.last.IsZero() {
		span = now.Sub(a.last)
	}
	if span <= 0 {
		return nil
	}
	a.last, a.table = now, s.Table
	a.recordLocked(now, span, s)
	a.forgetLocked(now)
	events := a.advanceLocked(now, a.violationsLocked())
	a.published.Store(a.viewLocked())
	return events
}

// recordLocked turns the sample into one point per scope.
func (a *Analyzer) recordLocked(now time.Time, span time.Duration, s Sample) {
	for name, service := range s.Services {
		h := a.services[name]
		if h == nil {
			h = &serviceHistory{pods: make(map[string]*series, len(service.Pods))}
			a.services[name] = h
		}
		h.current, h.peers = len(service.Pods), nil
		total := point{at: now, span: span, hits: service.Hits, misses: service.Misses, evictions: s.Table.Evictions}
		for pod, sample := range service.Pods {
			p := point{at: now, span: span, state: sample.State, flaps: int32(sample.Flaps)}
			p.add(sample)
			total.add(sample)
			of := h.pods[pod]
			if of == nil {
				of = &series{}
				h.pods[pod] = of
			}
			a.pushLocked(of, p)
		}
		a.pushLocked(&h.total, total)
	}
	for name, usage := range s.Processes {
		if a.processes[name] == nil {
			a.processes[name] = &series{}
		}
		a.pushLocked(a.processes[name], point{at: now, span: span, usage: usage})
	}
}

func (a *Analyzer) pushLocked(of *series, p point) {
	p.grown = p.sessions
	if len(of.recent) > 0 {
		p.grown -= of.at(0).sessions
	}
	of.push(p, a.options.History)
}

// forgetLocked drops what has not been observed for a whole history.
func (a *Analyzer) forgetLocked(now time.Time) {
	oldest := now.Add(-time.Duration(a.options.History) * a.options.Interval)
	gone := func(_ string, s *series) bool { return s.at(0).at.Before(oldest) }
	for name, h := range a.services {
		if maps.DeleteFunc(h.pods, gone); gone(name, &h.total) {
			delete(a.services, name)
		}
	}
	maps.DeleteFunc(a.processes, gone)
}

// isCurrentLocked reports whether a scope was part of the newest sample.
func (a *Analyzer) isCurrentLocked(s *series) bool { return s.at(0).at.Equal(a.last) }

// serviceLocked returns what is current of a service; nil when nothing is.
func (a *Analyzer) serviceLocked(name string) *serviceHistory {
	h := a.services[name]
	if h == nil || !a.isCurrentLocked(&h.total) {
		return nil
	}
	return h
}

func (a *Analyzer) podsLocked(service string) int {
	if h := a.serviceLocked(service); h != nil {
		return h.current
	}
	return 0
}

// peersLocked sums what the other pods of the service did in about the same time,
// without the distribution of their response times.
func (a *Analyzer) peersLocked(scope Scope, length time.Duration) *Window {
	h := a.serviceLocked(scope.Service)
	if h == nil {
		return &Window{}
	}
	covered := func(w *Window) bool { return w.Period >= length }
	one := &Window{}
	all, known := h.peers[length]
	if !known { // for all pods that ask: there are few lengths and many pods
		for _, s := range h.pods {
			if a.isCurrentLocked(s) {
				*one = Window{}
				s.figures(one, covered)
				all.addServed(one)
			}
		}
		if h.peers == nil {
			h.peers = make(map[time.Duration]Window)
		}
		h.peers[length] = all
	}
	if own := h.pods[scope.Pod]; own != nil && a.isCurrentLocked(own) {
		*one = Window{}
		own.figures(one, covered)
		all.takeServed(one)
	}
	return &all
}
