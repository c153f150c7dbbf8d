package check

import (
	"time"

	"github.com/stateful-route/stateful-route/stickiness/history"
)

// excuse is why the pod may not have served the request, and empty if it could.
func (s *session) excuse(pod string, r history.Record) string {
	if !history.Covers(s.world.Pods[pod].Able, r.Sent-s.world.Settle, r.Received) {
		return "its pod could not serve"
	}
	return s.stalled(pod, r)
}

// stalled is which process may have been kept from serving the request by the machine.
func (s *session) stalled(pod string, r history.Record) string {
	from := r.Sent - s.world.Settle
	p := s.world.Pods[pod]
	switch {
	case history.Meets(p.Stalls, from, r.Received):
		return "its pod did not get the processor"
	case history.Meets(s.world.Stalls, from, r.Received):
		return "the suite did not get the processor"
	}
	return ""
}

// explained reports whether a refusal or a failure has a known cause: the gateway
// or the session's pod could not serve. A session that has no pod yet may have met
// any pod.
func (s *session) explained(r history.Record) bool {
	if !s.gatewayServed(r.Gateway, r.Sent-s.world.Settle, r.Received) {
		return true
	}
	if at, began := s.streams[r.Stream]; began && r.Stream != 0 {
		return s.excuse(at.pod, r) != "" // whoever has the session by now
	}
	if s.owned {
		return s.excuse(s.owner.pod, r) != ""
	}
	for name, p := range s.world.Pods {
		// A pod that is yet to come was met by nobody.
		if len(p.Able) > 0 && p.Able[0].From <= r.Received && s.excuse(name, r) != "" {
			return true
		}
	}
	return false
}

func (s *session) gatewayServed(i int, from, until time.Duration) bool {
	return i < len(s.world.Gateways) && history.Covers(s.world.Gateways[i], from, until)
}
