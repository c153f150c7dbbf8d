// Package check sorts what was seen in a run. It is a pure function of the
// history, and every record gets exactly one class.
//
// # Whose a session is
//
// A session belongs to the pod that answered it first: there its state is, in
// that life of the pod. It stops belonging to it only
//   - when that process has ended, for then the state is gone, or
//   - when the pod could not serve during the whole time from History.Settle
//     before the request was sent until its answer was there: because it was
//     killed, paused, unhealthy by order, or no longer in the gateways' list.
//
// A pod that drains could serve. A pod that came back could serve once Settle is
// over, which gives the gateway's health checks their time. In all other cases an
// answer by another pod is silently wrong, however long ago the move was, and the
// session still belongs to the pod that has its state.
//
// A stall, a time in which the machine did not run a pod or the suite itself,
// excuses like a pod that could not serve, and is counted as such by its own reason.
package check
