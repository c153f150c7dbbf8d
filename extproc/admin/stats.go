package admin

import (
	"net/http"
	"time"

	"github.com/stateful-route/stateful-route/adminhttp"
	"github.com/stateful-route/stateful-route/balancing"
)

// balancerJSON is what a balancer counted.
type balancerJSON struct {
	TotalRequests       uint64     `json:"total_requests"`
	SuccessfulRequests  uint64     `json:"successful_requests"`
	FailedRequests      uint64     `json:"failed_requests"`
	AverageResponseTime float64    `json:"average_response_time_seconds"`
	LastRequest         *time.Time `json:"last_request"`
}

type balancersJSON struct {
	balancerJSON
	Services map[string]balancerJSON `json:"services"`
}

// stats serves the statistics of the table and of the balancers, these in total
// and by service.
func (a *admin) stats(w http.ResponseWriter, _ *http.Request) {
	adminhttp.WriteJSON(w, http.StatusOK, struct {
		Cache    any           `json:"cache"`
		Balancer balancersJSON `json:"balancer"`
		XDS      *xdsJSON      `json:"xds,omitempty"`
	}{a.TableStats(), a.balancerStats(), a.xds()})
}

// xdsJSON is how old the services and pods in force are.
type xdsJSON struct {
	Connected bool `json:"connected"`
	// AgeSeconds is the time since xds-server stood behind them: 0 while connected.
	AgeSeconds float64 `json:"age_seconds"`
	// FromFile: they were read from the state file, and nobody has answered since.
	FromFile bool `json:"from_file"`
}

func (a *admin) xds() *xdsJSON {
	if a.Freshness == nil {
		return nil
	}
	f := a.Freshness()
	return &xdsJSON{Connected: f.Connected, AgeSeconds: f.Age(a.Now()).Seconds(), FromFile: f.FromFile}
}

func (a *admin) balancerStats() balancersJSON {
	out := balancersJSON{Services: map[string]balancerJSON{}}
	var timed float64 // seconds over all responses seen
	var seen uint64
	for name, stats := range a.Directory.BalancerStats() {
		one := toBalancerJSON(stats)
		out.Services[name] = one
		out.TotalRequests += one.TotalRequests
		out.SuccessfulRequests += one.SuccessfulRequests
		out.FailedRequests += one.FailedRequests
		n := one.SuccessfulRequests + one.FailedRequests
		timed += one.AverageResponseTime * float64(n)
		seen += n
		if one.LastRequest != nil && (out.LastRequest == nil || one.LastRequest.After(*out.LastRequest)) {
			out.LastRequest = one.LastRequest
		}
	}
	if seen > 0 {
		out.AverageResponseTime = timed / float64(seen)
	}
	return out
}

func toBalancerJSON(s balancing.Stats) balancerJSON {
	out := balancerJSON{
		TotalRequests:       s.TotalRequests,
		SuccessfulRequests:  s.Successful,
		FailedRequests:      s.Failed,
		AverageResponseTime: s.AverageResponseTime.Seconds(),
	}
	if !s.LastRequest.IsZero() {
		out.LastRequest = &s.LastRequest
	}
	return out
}
