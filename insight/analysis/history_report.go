package analysis

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// historyReport is what the whole history of a service says, or that of the processes.
// It takes 20 to 80 µs for each pod to work out and stays true until the next sample.
type historyReport struct {
	statistics Statistics
	changes    []Change
}

// historyReports holds the reports of the newest sample. Its lock is the readers'
// own: no sample waits for it.
type historyReports struct {
	mu    sync.Mutex
	at    time.Time                // of which sample
	known map[string]historyReport // by service; "" is the processes
}

// historyReport returns what the history of a service says, or of everything for "".
func (a *Analyzer) historyReport(service string) historyReport {
	if service != "" {
		return a.historyReportOf(service)
	}
	all := a.historyReportOf("")
	all.statistics.Services = map[string]ServiceStatistics{}
	all.changes = slices.Clone(all.changes)
	for _, name := range a.serviceNames() {
		one := a.historyReportOf(name)
		maps.Copy(all.statistics.Services, one.statistics.Services)
		all.statistics.PeriodSeconds = max(all.statistics.PeriodSeconds, one.statistics.PeriodSeconds)
		all.statistics.Samples = max(all.statistics.Samples, one.statistics.Samples)
		all.changes = append(all.changes, one.changes...)
	}
	return all
}

func (a *Analyzer) serviceNames() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.services))
}

// historyReportOf works one out once for each sample, for all that ask.
func (a *Analyzer) historyReportOf(service string) historyReport {
	d := &a.history
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := a.published.Load().at; !d.at.Equal(at) {
		clear(d.known)
		d.at = at
	}
	if known, ok := d.known[service]; ok {
		return known
	}
	histories, known := a.snapshots(service)
	out := historyReport{statistics: statisticsOf(histories), changes: []Change{}}
	if a.options.Historical {
		out.changes = append(out.changes, changesIn(histories)...)
	}
	if known {
		d.known[service] = out // names that a visitor made up are not kept
	}
	return out
}

// snapshots takes a snapshot of a service and its pods, in this order, or of the
// processes for "". It is all that a reader locks out samples for.
func (a *Analyzer) snapshots(service string) (out []historySnapshot, known bool) {
	out, known = a.takeSnapshots(service)
	slices.SortFunc(out, func(x, y historySnapshot) int { return compareScopes(x.scope, y.scope) })
	return out, known
}

func (a *Analyzer) takeSnapshots(service string) (out []historySnapshot, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if service == "" {
		for name, s := range a.processes {
			out = append(out, s.snapshot(Scope{Process: name}))
		}
		return out, true
	}
	h := a.services[service]
	if h == nil {
		return nil, false
	}
	out = append(make([]historySnapshot, 0, len(h.pods)+1), h.total.snapshot(Scope{Service: service}))
	for pod, s := range h.pods {
		out = append(out, s.snapshot(Scope{Service: service, Pod: pod}))
	}
	return out, true
}

// statisticsOf sums histories up, a service's before its pods'.
func statisticsOf(histories []historySnapshot) Statistics {
	out := Statistics{Services: map[string]ServiceStatistics{}, Processes: map[string]Averages{}}
	longest := time.Duration(0)
	for i := range histories {
		scope, w := histories[i].scope, histories[i].total()
		if w.Period > longest {
			longest, out.Samples = w.Period, w.Samples
		}
		switch {
		case scope.Process != "":
			out.Processes[scope.Process] = averages(&w)
		case scope.Pod == "":
			out.Services[scope.Service] = ServiceStatistics{Averages: averages(&w), Pods: make(map[string]Averages, len(histories)-1)}
		default:
			out.Services[scope.Service].Pods[scope.Pod] = averages(&w)
		}
	}
	out.PeriodSeconds = longest.Seconds()
	return out
}

// changesIn searches every figure of the histories for changes.
func changesIn(histories []historySnapshot) (changes []Change) {
	lines := make([]line, len(metricTable))
	for i := range histories {
		for m := range lines {
			lines[m] = line{lines[m].values[:0], lines[m].starts[:0]}
		}
		histories[i].periods(func(p *period) {
			w := p.window(histories[i].scope)
			for m := range metricTable {
				if v, known := metricTable[m].value(&w); known {
					lines[m] = line{append(lines[m].values, v), append(lines[m].starts, p.start)}
				}
			}
		})
		for m := range metricTable {
			if metricTable[m].drifts {
				continue
			}
			if found, ok := findChange(lines[m].values); ok {
				changes = append(changes, newChange(histories[i].scope, &metricTable[m], found, time.Unix(0, lines[m].starts[found.at])))
			}
		}
	}
	return changes
}

// line is one figure over time.
type line struct {
	values []float64
	starts []int64 // of the periods that know it
}
