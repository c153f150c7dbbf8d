// Package epoch is for pods written in Go, behind a service with `epoch_header: true`: it
// refuses requests that an outdated router sends.
//
// Stateful Route tells a pod with each request of a session the epoch of its binding, a
// number that grows whenever the session's pod changes. A pod that has seen a session's
// epoch and then gets a lower one has it from somebody who does not know yet that the
// session has moved: 421 (Misdirected Request) says so, and nothing is done.
//
//	handler, err := epoch.Handler(mux, epoch.Options{
//		Key: func(r *http.Request) string { return r.Header.Get("X-Session-Id") },
//	})
//
// A pod knows only what it has seen: one that a session has left gets nothing newer from
// it, and goes on. What keeps the state of sessions for several pods, such as a database,
// can know: hand it the epoch, [Of], and have it refuse what is older. See docs/epochs.md.
package epoch
