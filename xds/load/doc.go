// Package load is the load reporting service (LRS): Envoys report requests and
// errors per pod on it, extprocs response times and sessions. A [Server] hands what
// its clients report to a [Store], which checks it and adds it up, and a
// [WeightController] takes it once a second and makes weights of it:
//
//	LRS report ─ checkPod → Counts ─ Store → Window ┬─ Observation → weight.Controller → weights
//	                                  └ recent       └─ the analyzer and the live page
//	                                    └ statefulroute.Load → admin API
package load
