// Package balancing decides where work goes: which pod takes a new session, and
// what share of the unbound requests each pod deserves. It is a pure core: every
// decision takes the time as an argument, and there is no clock, goroutine, log
// or package variable inside, so a decision can be scripted in a test and
// simulated at a million times real speed.
//
// Three parts share the package. A [Balancer] picks a pod for a new session with
// a [Strategy] found by name in a [Registry], and learns from every request's
// [Outcome]. A [Health] turns probe results into pod states, and a [Silence]
// finds pods that were sent requests and did not answer. A [Weights] turns the
// load that pods report into damped Envoy endpoint weights.
//
//	b, err := balancing.New(balancing.Options{Strategy: "home_hcl"})
//	if err != nil { ... }
//	b.SetPods(now, pods)
//	ticket, err := b.Pick(now, sessionKey) // in flight from here
//	if err != nil { ... }                  // a *NoPodsError says why no pod would do
//	...                                    // the request runs on ticket.Pod()
//	ticket.Answered(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: took})
//	...                                    // a long response is in flight until its end
//	ticket.Done(now, balancing.Outcome{})
//
// A pick takes no lock. The pods that take new sessions form an immutable
// snapshot behind an atomic pointer, and each pod's changing facts are atomics of
// their own, so that picks on different pods do not wait for one another.
package balancing
