package analysis

import (
	"sync"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Collector gathers what happens between two samples, which comes in smaller
// pieces: load reports once a second, the result of every health check. Its
// methods may be called from any goroutine.
type Collector struct {
	mu       sync.Mutex
	services map[string]ServiceSample // since the last sample
	evicted  uint64                   // since the last sample
	replicas map[string]ReplicaSample // as they reported last
	flaps    flapCounter
}

// NewCollector returns a collector of nothing.
func NewCollector() *Collector {
	return &Collector{services: map[string]ServiceSample{}, flaps: flapCounter{pods: map[Scope]*flapping{}}}
}

// Add adds what the services did since it was called before. The replicas are all
// that there are now.
func (c *Collector) Add(services map[string]ServiceSample, replicas map[string]ReplicaSample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, added := range services {
		svc := c.serviceLocked(name)
		svc.Hits += added.Hits
		svc.Misses += added.Misses
		for pod, more := range added.Pods {
			svc.Pods[pod] = svc.Pods[pod].plus(more)
		}
		c.services[name] = svc
	}
	c.replicas = replicas
	for _, r := range replicas {
		c.evicted += r.Evictions
	}
}

// plus is what a pod did in two times, of which that of more is the later one.
func (p PodSample) plus(more PodSample) PodSample {
	p.Requests += more.Requests
	p.Errors += more.Errors
	p.ResponseTimes.Merge(more.ResponseTimes)
	p.InFlight, p.Sessions = more.InFlight, more.Sessions
	return p
}

// Probed adds the result of a health check.
func (c *Collector) Probed(now time.Time, service, pod string, healthy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flaps.probed(now, Scope{Service: service, Pod: pod}, healthy)
}

// Collect returns what happened since it was called before. Given are the states of
// all pods by service and name: those that were asked nothing are part of the
// sample, too.
//
// Extprocs are counted as they reported last, which may be longer ago than the last
// sample: one that said nothing since is not gone.
func (c *Collector) Collect(now time.Time, pods map[string]map[string]statefulroute.PodState) Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, states := range pods {
		svc := c.serviceLocked(name)
		for pod, state := range states {
			p := svc.Pods[pod]
			p.State = state
			svc.Pods[pod] = p
		}
	}
	for scope, n := range c.flaps.count(now, pods) {
		p := c.services[scope.Service].Pods[scope.Pod]
		p.Flaps = n
		c.services[scope.Service].Pods[scope.Pod] = p
	}
	out := Sample{Services: c.services, Processes: map[string]ProcessSample{}, Table: TableSample{Evictions: c.evicted}}
	for name, r := range c.replicas {
		out.Processes[name] = r.ProcessSample
		out.Table.Size += r.Size
		out.Table.Capacity += r.Capacity
		if r.Capacity > 0 { // it has said what it holds
			out.Table.Replicas++
		}
	}
	c.services, c.evicted = map[string]ServiceSample{}, 0
	return out
}

func (c *Collector) serviceLocked(name string) ServiceSample {
	svc, ok := c.services[name]
	if !ok {
		svc = ServiceSample{Pods: map[string]PodSample{}}
		c.services[name] = svc
	}
	return svc
}
