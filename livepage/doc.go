// Package livepage is the page at xds-server's root: services, pods, sessions,
// xDS clients, issues and the last minutes as charts, kept up to date by
// server-sent events. It is three embedded files without a build step, which
// load nothing from elsewhere and run under a Content-Security-Policy that
// allows neither inline script nor markup made from text.
//
// Whoever owns the facts passes a function that assembles them for a moment, and
// feeds the charts with what the analyzer is fed with.
//
// A stream has no buffer of its own: it writes the newest state when there is
// one that it has not written yet. A client that does not read for some seconds
// is disconnected, and connects again by itself.
package livepage
