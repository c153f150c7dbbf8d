// Package insight is how Stateful Route is observed: [metrics] that count what
// happened, [tracing] that follows one request, and an [analysis] that turns both
// into findings a person can act on. A [Loop] drives the analysis in a running
// process.
//
// Whatever a client can choose freely (paths, header values, session keys) never
// becomes a label value, and what it can choose in part (the method) is folded
// into a short list, so that no traffic can grow the number of series.
//
// [metrics]: https://pkg.go.dev/github.com/stateful-route/stateful-route/insight/metrics
// [tracing]: https://pkg.go.dev/github.com/stateful-route/stateful-route/insight/tracing
// [analysis]: https://pkg.go.dev/github.com/stateful-route/stateful-route/insight/analysis
package insight
