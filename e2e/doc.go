// Package e2e tests the promise as a user meets it: demo pods, xds-server,
// extproc and a real Envoy as processes on free ports, with requests sent
// through Envoy. There is nothing here but tests; what starts and stops the
// processes is package harness.
//
//	$ go test ./e2e -run TestForgedHeaders -v
package e2e
