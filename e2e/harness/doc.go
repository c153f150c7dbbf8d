// Package harness starts the whole of Stateful Route for a test: demo pods,
// xds-server, extproc and a real Envoy, as processes on free ports with generated
// configuration. It waits until a request was served, shows the logs of a test
// that failed, and fails a test that leaves a process behind.
//
//	stack := harness.Start(t, programs, harness.Options{})
//	answer, err := stack.Get(harness.InHeader("alice"))
//	…
//	stack.Extproc.Kill(t)
//
// Programs are built once per test binary, with the race detector when
// E2E_RACE=1:
//
//	programs, err := harness.Build(ctx, dir)
package harness
