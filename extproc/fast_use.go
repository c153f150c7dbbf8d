package extproc

import (
	"time"

	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

// Served takes over what Envoys counted of requests that did not come here: metrics, load
// reports and the balancer do not tell them from others. Without a pod they are requests
// that name no session and that no pod of ours has answered. It returns how many found their session.
func (d *Directory) Served(now time.Time, service, pod string, u *fastpath.PodUse) (hits uint64) {
	s := d.service(service)
	if s == nil {
		return 0 // it is gone, and its metrics are
	}
	b := metrics.Bulk{Requests: u.Requests, Aborted: u.Aborted, Misroutes: u.Misroutes}
	classes := [fastpath.Classes]uint64{}
	for method := range u.Requests {
		for class, n := range u.Requests[method] {
			classes[class] += n
			hits += n
			b.Requests[method][class] += u.Unbound[method][class]
		}
	}
	for bucket, n := range &u.Durations {
		if n > 0 {
			b.Durations = append(b.Durations, metrics.DurationCount{Took: middle(bucket), N: uint64(n)})
		}
	}
	s.metrics.Bulk(pod, &b)
	if pod == "" {
		return 0
	}
	s.metrics.TableHits(hits)
	s.lookups.hits.Add(hits)
	none, failed := classes[metrics.StatusClass(0)], classes[metrics.StatusClass(500)]
	// As of requests that come here, the balancer is told of those that have a session.
	s.balancer.Served(now, pod, balancing.Served{
		InFlight: int64(u.InFlight), Succeeded: hits - none - failed, Failed: failed, Others: none,
		Timed: u.Responded, ResponseTimes: u.ResponseSum,
	})
	if p := s.pods[pod]; p != nil {
		p.times.nanos.Add(int64(u.ResponseSum + u.UnboundResponseSum))
		for bucket, n := range &u.Responses {
			if n > 0 {
				p.times.count(middle(bucket), uint64(n))
			}
		}
	}
	return hits
}

// middle stands for the times of a bucket.
func middle(bucket int) time.Duration {
	from, to := fastpath.Bounds(bucket)
	return (from + to) / 2
}
