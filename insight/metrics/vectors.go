package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// waits are the classic buckets of what a client waits for, in seconds.
var waits = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// choices are those of a choice among pods, which takes microseconds.
var choices = []float64{250e-9, 500e-9, 1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 10e-3}

// vectors are the collectors of the built-in metrics.
type vectors struct {
	requests, errors             *prometheus.CounterVec
	hits, misses, rebound        *prometheus.CounterVec
	keysRefused                  *prometheus.CounterVec
	selections, misroutes        *prometheus.CounterVec
	healthChecks, unhealthy      *prometheus.CounterVec
	nacks, reloads, undecided    *prometheus.CounterVec
	certificateReloads           *prometheus.CounterVec
	podWeight, podSessions       *prometheus.GaugeVec
	issues                       *prometheus.GaugeVec
	reloadOK                     prometheus.Gauge
	requestDuration              *prometheus.HistogramVec
	selectionDuration            *prometheus.HistogramVec
	healthDuration, pushDuration *prometheus.HistogramVec
}

func newVectors() vectors {
	return vectors{
		requests:           counter("requests_total", "Requests answered, by method and class of the response's status.", "service", "pod", "method", "code"),
		errors:             counter("request_errors_total", "Requests that failed, by kind: upstream is a 5xx of the pod, of a sample of its responses and of all of them for 2 s after one was seen; aborted ended without a response; pod_lost and no_pods were refused; late means that the answer came after Envoy's message_timeout or that the client had left.", "service", "pod", "kind"),
		hits:               counter("cache_hits_total", "Requests whose session had a binding.", "service"),
		misses:             counter("cache_misses_total", "Requests whose session had no binding.", "service"),
		rebound:            counter("sessions_rebound_total", "Sessions that moved to another pod, by reason.", "service", "reason"),
		keysRefused:        counter("keys_refused_total", "Values of requests and responses that were not taken for session keys, by reason: too_long and learned_too_long are of more than 64 KiB.", "service", "reason"),
		selections:         counter("load_balancer_requests_total", "Choices of a pod for a new or lost session.", "service", "pod", "result"),
		misroutes:          counter("misroutes_total", "Requests served by another pod than the session's, counted at the bound pod.", "service", "pod"),
		healthChecks:       counter("health_check_total", "Active health checks made.", "service", "pod"),
		unhealthy:          counter("health_check_failures_total", "Active health checks that failed.", "service", "pod"),
		nacks:              counter("xds_nacks_total", "Resource updates refused by a client, by type.", "type"),
		certificateReloads: counter("tls_reloads_total", "Changed files of certificates, keys and authorities, by what became of them.", "result"),
		reloads:            counter("config_reloads_total", "Changed configuration files, by what became of them.", "result"),
		undecided:          counter("undecided_callouts_total", "Callouts of Envoy that ended without a decision, by reason. Envoy repeats one that could not be decided now; once message_timeout has passed it sends the request on unbound, or refuses it.", "reason"),
		podWeight:          gauge("pod_weight", "Weight of the pod as given to Envoy.", "service", "pod"),
		podSessions:        gauge("pod_sessions", "Sessions bound to the pod.", "service", "pod"),
		issues:             gauge("analysis_issues", "Issues the analyzer holds open, by severity.", "severity"),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "stateful_route_config_last_reload_successful", Help: "Whether the last configuration file read was accepted."}),
		requestDuration:   histogram("request_duration_seconds", "Time from a request's arrival to the end of its exchange.", waits, "service", "pod"),
		selectionDuration: histogram("pod_selection_duration_seconds", "Time the choice of a pod took.", choices, "service"),
		healthDuration:    histogram("health_check_duration_seconds", "Time an active health check took.", waits, "service"),
		pushDuration:      histogram("xds_push_duration_seconds", "Time from a change to its acknowledgement, by resource type.", waits, "type"),
	}
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "stateful_route_" + name, Help: help}, labels)
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "stateful_route_" + name, Help: help}, labels)
}

// histogram serves the classic buckets to every scraper and, to one that asks
// for them, native ones whose quantiles are off by at most 4.4 %. The native
// side holds at most 160 buckets and is coarsened rather than outgrow that.
func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                            "stateful_route_" + name,
		Help:                            help,
		Buckets:                         buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}, labels)
}

func (v *vectors) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		v.requests, v.errors, v.hits, v.misses, v.rebound, v.keysRefused, v.selections, v.misroutes,
		v.healthChecks, v.unhealthy, v.nacks, v.reloads, v.certificateReloads, v.undecided, v.podWeight, v.podSessions, v.issues,
		v.reloadOK, v.requestDuration, v.selectionDuration, v.healthDuration, v.pushDuration,
	}
}

// shortType turns an xDS type URL, or a short name in either case, into the name
// of its discovery service.
func shortType(typeURL string) string {
	switch name := typeURL[strings.LastIndexByte(typeURL, '.')+1:]; strings.ToUpper(name) {
	case "LISTENER", "LDS":
		return "LDS"
	case "ROUTECONFIGURATION", "RDS":
		return "RDS"
	case "CLUSTER", "CDS":
		return "CDS"
	case "CLUSTERLOADASSIGNMENT", "EDS":
		return "EDS"
	case "SECRET", "SDS":
		return "SDS"
	}
	return other
}

// forget removes every series that has all of the labels.
func (v *vectors) forget(labels prometheus.Labels) {
	for _, vec := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		v.requests, v.errors, v.selections, v.misroutes, v.healthChecks, v.unhealthy, v.podWeight, v.podSessions,
		v.requestDuration, v.hits, v.misses, v.rebound, v.keysRefused, v.selectionDuration, v.healthDuration,
	} {
		vec.DeletePartialMatch(labels)
	}
}
