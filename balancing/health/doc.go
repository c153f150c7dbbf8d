// Package health turns the results of probes into the states of pods. It is a pure
// core: the time is an argument of each call, and there is no clock, goroutine, log
// or package variable inside; the caller runs the probes.
//
// A [Checker] says which pods to probe and which are healthy. A [PassiveCheck] finds
// the pods that requests speak against, which are then probed at once.
package health
