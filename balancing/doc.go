// Package balancing decides which pod takes a new session. It is a pure core: every
// decision takes the time as an argument, and there is no clock, goroutine, log
// or package variable inside, so a decision can be scripted in a test and
// simulated at a million times real speed.
//
// A [Balancer] picks a pod for a new session with a [Strategy] found by name in a
// [Registry], and learns from every request's [Outcome]. What share of the unbound
// requests each pod deserves is package weight's to say, and which pods are healthy
// package health's.
//
//	b, err := balancing.New(balancing.Options{Strategy: "home_hcl"})
//	if err != nil { ... }
//	b.SetPods(now, pods)
//	result, err := b.Pick(now, sessionKey) // in flight from here
//	if err != nil { ... }                  // a *NoPodsError says why no pod would do
//	...                                    // the request runs on result.Pod()
//	result.Answered(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: took})
//	...                                    // a long response is in flight until its end
//	result.Done(now, balancing.Outcome{})
//
// A pick takes no lock, but for that of weighted_round_robin. The pods that take
// new sessions form an immutable snapshot behind an atomic pointer, and each pod's
// changing facts are atomics of their own, so that picks on different pods do not
// wait for one another.
package balancing
