// Package simulate runs balancing strategies against simulated pods, event by
// event, without a clock: the same seed gives the same figures on every machine.
//
// A [Trace] is what clients do: requests at set times, each with a session and an
// amount of work. It is drawn once and replayed for every policy, and for the
// central-queue ideal: one queue in front of all slots, whose head goes to the
// fastest free slot of a sound pod. No balancer that has to decide on arrival can
// beat it, so each policy's p99 is shown as a ratio to it.
//
//	trace := simulate.NewTrace(setting)
//	ideal := simulate.Ideal(setting, trace)
//	result, err := simulate.Run(setting, trace, "least_response_time")
//	fmt.Println(result.P99 / ideal.P99)
package simulate
