// Package weight turns the load that pods report into Envoy endpoint weights that
// move slowly. It is a pure core: the time is an argument of each call, and there is
// no clock, goroutine, log or package variable inside.
//
// A [Controller] gets an [Observation] of each pod about once a second and returns
// the weights, and whether they are worth a push.
package weight
