package load

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing/weight"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/wire"
)

// Counts is what was counted at a pod: by one report, by one client since the last
// Take, or by all of them.
type Counts struct {
	// Issued, Succeeded and Failed count requests as Envoys saw them; a 5xx
	// answer is a failure.
	Issued, Succeeded, Failed uint64
	// Responses were timed by extprocs, ResponseTime is their sum, and Buckets
	// count them by wire.ResponseTimeBounds; the last bucket is for slower ones.
	Responses    uint64
	ResponseTime time.Duration
	Buckets      []uint64
	Gauges
}

// Gauges is what a pod has at the moment, as clients said last.
type Gauges struct {
	// InFlight are the requests that Envoys have in progress.
	InFlight int64
	// Sessions are bound to the pod, as extprocs said.
	Sessions int64
}

// add adds what was counted; gauges are no counts.
func (c *Counts) add(more Counts) {
	c.Issued += more.Issued
	c.Succeeded += more.Succeeded
	c.Failed += more.Failed
	c.Responses += more.Responses
	c.ResponseTime = min(c.ResponseTime+more.ResponseTime, longestSum)
}

func (c *Counts) addBuckets(more []uint64) {
	for i, n := range more {
		c.Buckets[i] += n
	}
}

func (g *Gauges) add(more Gauges) {
	g.InFlight += more.InFlight
	g.Sessions += more.Sessions
}

// Window is what a pod did between two calls of Take, over all clients. Where three
// or more report of it, how many requests failed, how long they took and how many are
// in flight is what most of them say.
type Window struct {
	Service, Pod string
	Counts
}

// Taken is what happened between two calls of Store.Take.
type Taken struct {
	Windows []Window
	// Lookups are those of each service's sessions.
	Lookups map[string]Lookups
	// Replicas are the extprocs by client name, as they reported last; their
	// evictions add up.
	Replicas map[string]analysis.ReplicaSample
}

// Lookups counts look-ups of sessions by all extprocs.
type Lookups struct{ Hits, Misses uint64 }

// Pods finds the pods that reports are about.
type Pods interface {
	HasService(name string) bool
	// PodAt names the pod at an address of a service.
	PodAt(service string, at netip.AddrPort) (pod string, ok bool)
}

// podID names a pod of all services.
type podID struct{ service, pod string }

// Store adds up the load reports of all clients. Safe for concurrent use.
type Store struct {
	mu       sync.Mutex
	windows  map[podID]*window
	clients  map[string]time.Time // since when they report
	refused  map[string]uint64    // by reason
	lookups  map[string]Lookups
	replicas map[string]analysis.ReplicaSample
	gauges   map[string]map[podID]Gauges // by client
	recent   map[podID]*recent
}

// window is a Window that is being filled.
type window struct {
	Window
	said []said
}

// recent fades with recentHalfLife, for people to look at. The response time is
// a mean over time, not over requests: the many of a fast past would hide the
// few of a slow present.
type recent struct {
	at               time.Time
	answered, failed float64
	responseTime     float64 // seconds; 0 before the first
	lastResponse     time.Time
}

const recentHalfLife = 3 * time.Second

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{
		windows: map[podID]*window{}, clients: map[string]time.Time{}, refused: map[string]uint64{}, lookups: map[string]Lookups{}, replicas: map[string]analysis.ReplicaSample{},
		gauges: map[string]map[podID]Gauges{}, recent: map[podID]*recent{},
	}
}

// Report books what a client reported of its clusters. What cannot be, and what is
// about services and pods that there are not, is left out and counted.
func (l *Store) Report(now time.Time, client string, stats []*endpointv3.ClusterStats, pods Pods) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, known := l.clients[client]
	if !known {
		since = now
		l.clients[client] = now
	}
	for _, cluster := range stats {
		switch name := cluster.GetClusterName(); {
		case name == wire.ReplicaCluster:
			l.reportReplicaLocked(client, cluster)
		case !pods.HasService(name):
			l.refused[refusedUnknownService]++
		default:
			l.reportServiceLocked(now, now.Sub(since), client, cluster, pods)
		}
	}
}

func (l *Store) reportReplicaLocked(client string, cluster *endpointv3.ClusterStats) {
	v, ok := checkedValues(cluster)
	if !ok {
		l.refused[refusedAbsurd]++
		return
	}
	l.replicas[client] = replicaSample(v, l.replicas[client].Evictions)
}

func (l *Store) reportServiceLocked(now time.Time, here time.Duration, client string, cluster *endpointv3.ClusterStats, pods Pods) {
	service := cluster.GetClusterName()
	if v, ok := checkedValues(cluster); ok {
		l.countLookupsLocked(service, v)
	} else {
		l.refused[refusedAbsurd]++
	}
	seen := map[podID]Gauges{}
	for _, locality := range cluster.GetUpstreamLocalityStats() {
		for _, e := range locality.GetUpstreamEndpointStats() {
			at, ok := endpointAddress(e)
			if !ok {
				l.refused[refusedMalformed]++
				continue
			}
			pod, ok := pods.PodAt(service, at)
			if !ok {
				l.refused[refusedUnknownPod]++
				continue
			}
			r, reason := checkPod(e, here)
			if reason != "" {
				l.refused[reason]++
				continue
			}
			id := podID{service, pod}
			l.addLocked(now, client, id, &r)
			g := seen[id]
			g.add(r.Gauges)
			seen[id] = g
		}
	}
	l.setGaugesLocked(client, service, seen)
}

func (l *Store) countLookupsLocked(service string, v map[string]float64) {
	if v[wire.MetricCacheHits]+v[wire.MetricCacheMisses] == 0 {
		return
	}
	if max(v[wire.MetricCacheHits], v[wire.MetricCacheMisses]) > mostRequests {
		l.refused[refusedAbsurd]++
		return
	}
	c := l.lookups[service]
	c.Hits += uint64(v[wire.MetricCacheHits])
	c.Misses += uint64(v[wire.MetricCacheMisses])
	l.lookups[service] = c
}

// Refuse counts a whole report that was refused.
func (l *Store) Refuse(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused[reason]++
}

// Refused counts, by reason, what was left out of load reports: clusters, pods, and
// whole reports.
func (l *Store) Refused() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.refused)
}

func replicaSample(v map[string]float64, evictions uint64) analysis.ReplicaSample {
	return analysis.ReplicaSample{
		ProcessSample: analysis.ProcessSample{
			Memory: uint64(v[wire.MetricMemory]), MemoryLimit: uint64(v[wire.MetricMemoryLimit]),
			CPU: v[wire.MetricCPU], CPULimit: v[wire.MetricCPULimit],
		},
		Size: int(v[wire.MetricTableSize]), Capacity: int(v[wire.MetricTableCapacity]),
		Evictions: evictions + uint64(v[wire.MetricEvictions]),
		Unwritten: v[wire.MetricUnwritten] > 0,
		Store:     storeSample(v),
	}
}

// storeSample is of nobody's store where the state is one that this program does not know.
func storeSample(v map[string]float64) (s analysis.StoreSample) {
	states := wire.StoreStates()
	if code := v[wire.MetricStoreState]; code >= 1 && code < float64(len(states)) {
		s.State = states[int(code)]
		s.Lease = time.Duration(min(v[wire.MetricStoreLease], longestSum.Seconds()) * float64(time.Second))
		s.Conflicts = uint64(v[wire.MetricStoreConflicts])
	}
	return s
}

// Replica is an extproc and what it said of itself last.
type Replica struct {
	Node string
	analysis.ReplicaSample
}

// Replicas are the extprocs that report, by node. Their evictions are those since the last
// Take.
func (l *Store) Replicas() []Replica {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Replica, 0, len(l.replicas))
	for _, client := range slices.Sorted(maps.Keys(l.replicas)) {
		node := client
		if i := strings.LastIndexByte(client, '#'); i >= 0 { // the number of its stream
			node = client[:i]
		}
		out = append(out, Replica{node, l.replicas[client]})
	}
	return out
}

// Unwritten says which extprocs cannot write their bindings, as they said last.
func (l *Store) Unwritten() (out []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(l.replicas)) {
		if l.replicas[name].Unwritten {
			out = append(out, name+": bindings cannot be written, a restart would lose changes: routectl check and its log say why")
		}
	}
	return out
}

// setGaugesLocked replaces what the client said of the service: a pod it no
// longer mentions has nothing in progress there.
func (l *Store) setGaugesLocked(client, service string, seen map[podID]Gauges) {
	mine := l.gauges[client]
	if mine == nil {
		mine = map[podID]Gauges{}
		l.gauges[client] = mine
	}
	maps.DeleteFunc(mine, func(id podID, _ Gauges) bool { return id.service == service })
	maps.Copy(mine, seen)
}

func (l *Store) addLocked(now time.Time, client string, id podID, reported *Counts) {
	w := l.windowLocked(id)
	w.add(*reported)
	w.addBuckets(reported.Buckets)
	w.hear(client, reported)
	r := l.recent[id]
	if r == nil {
		r = &recent{at: now}
		l.recent[id] = r
	}
	weight := r.fade(now)
	answered := reported.Succeeded + reported.Failed
	r.answered += float64(answered)
	r.failed += float64(reported.Failed)
	if reported.Responses > 0 {
		r.see(reported.ResponseTime.Seconds()/float64(reported.Responses), weight)
	}
	if answered > 0 {
		r.lastResponse = now
	}
}

func (l *Store) windowLocked(id podID) *window {
	w := l.windows[id]
	if w == nil {
		w = &window{Window: Window{Service: id.service, Pod: id.pod}}
		w.Buckets = make([]uint64, len(wire.ResponseTimeBounds())+1)
		l.windows[id] = w
	}
	return w
}

func endpointAddress(e *endpointv3.UpstreamEndpointStats) (netip.AddrPort, bool) {
	socket := e.GetAddress().GetSocketAddress()
	addr, err := netip.ParseAddr(socket.GetAddress())
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr, uint16(socket.GetPortValue())), true
}

// Forget drops what a client that went away had in progress.
func (l *Store) Forget(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.gauges, client)
	delete(l.replicas, client)
	delete(l.clients, client)
}

// Take returns what happened since the last Take.
func (l *Store) Take() Taken {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, mine := range l.gauges {
		for id, g := range mine {
			l.windowLocked(id).Gauges.add(g)
		}
	}
	out := Taken{Windows: make([]Window, 0, len(l.windows)), Lookups: l.lookups, Replicas: maps.Clone(l.replicas)}
	for _, w := range l.windows {
		out.Windows = append(out.Windows, w.agreed())
	}
	for client, r := range l.replicas {
		r.Evictions = 0
		l.replicas[client] = r
	}
	clear(l.windows)
	l.lookups = map[string]Lookups{}
	return out
}

// Keep drops the facts of pods for which known is false.
func (l *Store) Keep(known func(service, pod string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.recent, func(id podID, _ *recent) bool { return !known(id.service, id.pod) })
	for _, mine := range l.gauges {
		maps.DeleteFunc(mine, func(id podID, _ Gauges) bool { return !known(id.service, id.pod) })
	}
}

// Load returns what the reports of the last seconds say of a pod: response
// time and error rate are means that fade with a half-life of 3 s.
func (l *Store) Load(service, pod string) statefulroute.Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := podID{service, pod}
	var out statefulroute.Load
	var now Gauges
	for _, mine := range l.gauges {
		now.add(mine[id])
	}
	out.InFlight, out.Sessions = now.InFlight, now.Sessions
	r := l.recent[id]
	if r == nil {
		return out
	}
	out.LastResponse = r.lastResponse
	out.ResponseTime = time.Duration(r.responseTime * float64(time.Second))
	if r.answered > 0 {
		out.ErrorRate = r.failed / r.answered
	}
	return out
}

// fade ages the sums and returns the share that the time since is worth.
func (r *recent) fade(now time.Time) (share float64) {
	left := math.Exp2(-now.Sub(r.at).Seconds() / recentHalfLife.Seconds())
	r.answered, r.failed = r.answered*left, r.failed*left
	r.at = now
	return 1 - left
}

func (r *recent) see(seconds, share float64) {
	if r.responseTime == 0 {
		share = 1
	}
	r.responseTime += (seconds - r.responseTime) * share
}

// Observation is the window as balancing takes it.
func (w Window) Observation(interval time.Duration) weight.Observation {
	o := weight.Observation{
		Interval: interval, Issued: w.Issued, Succeeded: w.Succeeded, Failed: w.Failed,
		InProgress: uint64(max(w.InFlight, 0)),
	}
	if w.Responses > 0 {
		o.ResponseTime, o.Responses = w.ResponseTime/time.Duration(w.Responses), w.Responses
	}
	return o
}

// Samples is what was taken as the analyzer takes it, by service.
func (t *Taken) Samples() map[string]analysis.ServiceSample {
	out := make(map[string]analysis.ServiceSample, len(t.Lookups))
	of := func(service string) analysis.ServiceSample {
		s, ok := out[service]
		if !ok {
			s = analysis.ServiceSample{Pods: map[string]analysis.PodSample{}}
			out[service] = s
		}
		return s
	}
	for i := range t.Windows {
		w := &t.Windows[i]
		of(w.Service).Pods[w.Pod] = w.sample()
	}
	for service, c := range t.Lookups {
		s := of(service)
		s.Hits, s.Misses = c.Hits, c.Misses
		out[service] = s
	}
	return out
}

func (w *Window) sample() analysis.PodSample {
	return analysis.PodSample{
		Requests: w.Succeeded + w.Failed, Errors: w.Failed, InFlight: w.InFlight, Sessions: w.Sessions,
		ResponseTimes: analysis.BucketedDurations(wire.ResponseTimeBounds(), w.Buckets, w.ResponseTime),
	}
}
