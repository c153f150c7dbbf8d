// Package load is the load reporting service (LRS): Envoys report requests and
// errors per pod on it, extprocs response times and sessions. What they report is
// checked, and added up until somebody takes it.
package load
