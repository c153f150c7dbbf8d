package dashboards

// rows are the dashboard from top to bottom: what a person asks first comes
// first.
func rows() []row {
	return []row{
		{"At a glance", glance()},
		{"Requests", requests()},
		{"Sessions", sessions()},
		{"Replicas and their store", replicas()},
		{"Balancing", balancing()},
		{"Health and control plane", control()},
		{"Processes and Envoy", processes()},
	}
}

func glance() []panel {
	return []panel{
		{"Requests", "Requests of sessions, per second.", perSecond, true, []query{
			{"", `sum(rate(stateful_route_requests_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Failed", "Share of the requests that failed, among those whose response was looked at.", ratio, true, []query{
			{"", `clamp_max((sum(rate(stateful_route_request_errors_total{service=~"$service"}[$__rate_interval])) or vector(0)) / sum(rate(stateful_route_requests_total{service=~"$service", code!="none"}[$__rate_interval])), 1)`}}},
		{"Answered within", "99 % of the requests were answered within this time.", duration, true, []query{
			{"", `histogram_quantile(0.99, sum by (le) (rate(stateful_route_request_duration_seconds_bucket{service=~"$service"}[$__rate_interval])))`}}},
		{"Sessions", "Sessions bound to a pod. Of extprocs that share a store one tells of all.", short, true, []query{
			{"", `sum(stateful_route_pod_sessions{service=~"$service"})`}}},
		{"Bindings found", "Share of the requests whose session had a binding in the table of the extproc that was asked.", ratio, true, []query{
			{"", `sum(rate(stateful_route_cache_hits_total{service=~"$service"}[$__rate_interval])) / (sum(rate(stateful_route_cache_hits_total{service=~"$service"}[$__rate_interval])) + sum(rate(stateful_route_cache_misses_total{service=~"$service"}[$__rate_interval])))`}}},
		{"Open issues", "Issues that the analyzer holds open.", short, true, []query{
			{"", `sum(stateful_route_analysis_issues)`}}},
	}
}

func requests() []panel {
	return []panel{
		{"Requests by status", "none: the response was not looked at, as that of most requests of a busy pod.", perSecond, false, []query{
			{"{{service}} {{code}}", `sum by (service, code) (rate(stateful_route_requests_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Response time", "As a client of Envoy sees it.", duration, false, []query{
			{"{{service}} p50", `histogram_quantile(0.5, sum by (service, le) (rate(stateful_route_request_duration_seconds_bucket{service=~"$service"}[$__rate_interval])))`},
			{"{{service}} p95", `histogram_quantile(0.95, sum by (service, le) (rate(stateful_route_request_duration_seconds_bucket{service=~"$service"}[$__rate_interval])))`},
			{"{{service}} p99", `histogram_quantile(0.99, sum by (service, le) (rate(stateful_route_request_duration_seconds_bucket{service=~"$service"}[$__rate_interval])))`}}},
		{"Mean response time by pod", "A pod that stands out here is slow on its own account.", duration, false, []query{
			{"{{service}} {{pod}}", `sum by (service, pod) (rate(stateful_route_request_duration_seconds_sum{service=~"$service"}[$__rate_interval])) / sum by (service, pod) (rate(stateful_route_request_duration_seconds_count{service=~"$service"}[$__rate_interval]))`}}},
		{"Requests by pod", "", perSecond, false, []query{
			{"{{service}} {{pod}}", `sum by (service, pod) (rate(stateful_route_requests_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Failures by kind", "upstream is a 5xx of the pod, among the responses looked at.", perSecond, false, []query{
			{"{{service}} {{kind}}", `sum by (service, kind) (rate(stateful_route_request_errors_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Failures by pod", "", perSecond, false, []query{
			{"{{service}} {{pod}}", `sum by (service, pod) (rate(stateful_route_request_errors_total{service=~"$service"}[$__rate_interval]))`}}},
	}
}

func sessions() []panel {
	return []panel{
		{"Sessions by pod", "", short, false, []query{
			{"{{service}} {{pod}}", `sum by (service, pod) (stateful_route_pod_sessions{service=~"$service"})`}}},
		{"Sessions that moved, by reason", "Each of them lost what its pod held.", perSecond, false, []query{
			{"{{service}} {{reason}}", `sum by (service, reason) (rate(stateful_route_sessions_rebound_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Misrouted requests", "Served by another pod than the session's. Always 0.", perSecond, false, []query{
			{"{{service}} {{pod}}", `sum by (service, pod) (rate(stateful_route_misroutes_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Requests without an answer of extproc", "Let pass by Envoy (on_extproc_loss: allow), so that a session may have moved, or refused (deny). Should be 0.", perSecond, false, []query{
			{"{{instance}} let pass", `clamp_min(sum by (instance) (rate(envoy_http_ext_proc_stateful_route_failure_mode_allowed[$__rate_interval])) - sum by (instance) (rate(envoy_http_rbac_denied{envoy_http_conn_manager_prefix="stateful_route"}[$__rate_interval])), 0)`},
			{"{{instance}} refused", `sum by (instance) (rate(envoy_http_rbac_denied{envoy_http_conn_manager_prefix="stateful_route"}[$__rate_interval]))`}}},
		{"Look-ups", "A miss is a new session, one whose binding was given up, or one that another replica bound.", perSecond, false, []query{
			{"{{service}} found", `sum by (service) (rate(stateful_route_cache_hits_total{service=~"$service"}[$__rate_interval]))`},
			{"{{service}} not found", `sum by (service) (rate(stateful_route_cache_misses_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Bindings held", "Of extprocs that share a store each holds the sessions that it was asked about: some are in several tables.", short, false, []query{
			{"{{instance}}", `stateful_route_cache_size`}}},
		{"Bindings given up, by reason", "For lack of room. Of those given up last, some three times as many as there is room for, sessions still find their pod.", perSecond, false, []query{
			{"{{reason}}", `sum by (reason) (rate(stateful_route_cache_evictions_total[$__rate_interval]))`}}},
		{"Sessions back after that", "On their pod again, or broken: their pod is forgotten, or the table is full and refuses them.", perSecond, false, []query{
			{"on their pod", `sum(rate(stateful_route_cache_recalls_total[$__rate_interval]))`},
			{"broken", `sum(rate(stateful_route_cache_broken_total[$__rate_interval]))`}}},
	}
}

// replicas is empty where extprocs share no store.
func replicas() []panel {
	return []panel{
		{"Lease left", "How long each extproc may answer without having heard of the store. At 0 it does what on_store_loss says.", duration, false, []query{
			{"{{instance}}", `stateful_route_store_lease_seconds`}}},
		{"Conflicts", "Bindings given up, for the store had others: sessions that two replicas may have sent to two pods. Should be 0.", perSecond, false, []query{
			{"{{service}}", `sum by (service) (rate(stateful_route_store_conflicts_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Store operations", "claim and rebind are requests that waited for the store; refresh, renew and count are the background.", perSecond, false, []query{
			{"{{operation}}", `sum by (operation) (rate(stateful_route_store_operations_total[$__rate_interval]))`}}},
		{"Failed store operations", "Refused, or not answered in time.", perSecond, false, []query{
			{"{{instance}}", `sum by (instance) (rate(stateful_route_store_operations_total{result="error"}[$__rate_interval]))`}}},
		{"Time of a store operation", "With its network. A new session's first request waits for one.", duration, false, []query{
			{"{{operation}} p50", `histogram_quantile(0.5, sum by (operation, le) (rate(stateful_route_store_duration_seconds_bucket[$__rate_interval])))`},
			{"{{operation}} p99", `histogram_quantile(0.99, sum by (operation, le) (rate(stateful_route_store_duration_seconds_bucket[$__rate_interval])))`}}},
	}
}

func balancing() []panel {
	return []panel{
		{"Weights", "As given to Envoy.", short, false, []query{
			{"{{service}} {{pod}}", `max by (service, pod) (stateful_route_pod_weight{service=~"$service"})`}}},
		{"New sessions by pod", "", perSecond, false, []query{
			{"{{service}} {{pod}}", `sum by (service, pod) (rate(stateful_route_load_balancer_requests_total{service=~"$service", result="success"}[$__rate_interval]))`},
			{"{{service}} no pod", `sum by (service) (rate(stateful_route_load_balancer_requests_total{service=~"$service", result="failure"}[$__rate_interval]))`}}},
		{"Time to choose a pod", "The choice alone.", duration, false, []query{
			{"{{service}} p50", `histogram_quantile(0.5, sum by (service, le) (rate(stateful_route_pod_selection_duration_seconds_bucket{service=~"$service"}[$__rate_interval])))`},
			{"{{service}} p99", `histogram_quantile(0.99, sum by (service, le) (rate(stateful_route_pod_selection_duration_seconds_bucket{service=~"$service"}[$__rate_interval])))`}}},
	}
}

func control() []panel {
	return []panel{
		{"Failed health checks by pod", "", perSecond, false, []query{
			{"{{service}} {{pod}}", `sum by (service, pod) (rate(stateful_route_health_check_failures_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Health checks", "", perSecond, false, []query{
			{"{{service}}", `sum by (service) (rate(stateful_route_health_check_total{service=~"$service"}[$__rate_interval]))`}}},
		{"Time of a health check", "", duration, false, []query{
			{"{{service}} p99", `histogram_quantile(0.99, sum by (service, le) (rate(stateful_route_health_check_duration_seconds_bucket{service=~"$service"}[$__rate_interval])))`}}},
		{"Time to bring a change into force", "From a change to its acknowledgement.", duration, false, []query{
			{"{{type}} p99", `histogram_quantile(0.99, sum by (type, le) (rate(stateful_route_xds_push_duration_seconds_bucket[$__rate_interval])))`}}},
		{"Refused changes", "", perSecond, false, []query{
			{"{{type}} refused by a client", `sum by (type) (rate(stateful_route_xds_nacks_total[$__rate_interval]))`},
			{"configuration file {{result}}", `sum by (result) (rate(stateful_route_config_reloads_total[$__rate_interval]))`}}},
		{"Open issues by severity", "", short, false, []query{
			{"{{severity}}", `sum by (severity) (stateful_route_analysis_issues)`}}},
	}
}

func processes() []panel {
	return []panel{
		{"Memory", "", byteCount, false, []query{
			{"{{process}} {{instance}}", `process_resident_memory_bytes * on (instance) group_left (process) stateful_route_build_info`}}},
		{"CPU", "Cores used.", short, false, []query{
			{"{{process}} {{instance}}", `rate(process_cpu_seconds_total[$__rate_interval]) * on (instance) group_left (process) stateful_route_build_info`}}},
		{"Goroutines", "", short, false, []query{
			{"{{process}} {{instance}}", `go_goroutines * on (instance) group_left (process) stateful_route_build_info`}}},
		{"Envoy: responses by class", "All requests, those without a session too.", perSecond, false, []query{
			{"{{envoy_response_code_class}}xx", `sum by (envoy_response_code_class) (rate(envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix!="admin"}[$__rate_interval]))`}}},
		{"Envoy: response time", "", duration, false, []query{
			{"p99", `histogram_quantile(0.99, sum by (le) (rate(envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix!="admin"}[$__rate_interval]))) / 1000`}}},
		{"Envoy: pods it may use", "", short, false, []query{
			{"{{envoy_cluster_name}}", `envoy_cluster_membership_healthy{envoy_cluster_name=~"$service"}`}}},
	}
}
