package metrics

import "time"

// Refused records a request that was answered in the pods' stead: the status
// the client got, d from arrival to answer, and kind, one of Error's, in place
// of the upstream error that Request would count for a 5xx. The traceID is an
// exemplar as Request's is.
func (s *ServiceMetrics) Refused(method, kind string, status int, d time.Duration, traceID string) {
	p := s.pod("")
	p.request(methodIndex(method), statusClass(status)).Inc()
	p.errors.get(kind).Inc()
	p.lasted(d, traceID)
}
