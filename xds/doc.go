// Package xds is the control plane: it turns services and their pods into
// Envoy's resources (LDS, RDS, CDS, EDS), serves them over ADS in delta and
// state-of-the-world to any Envoy and to extproc, and reads back their load
// reports (LRS).
//
// The idea is that extproc must never choose a pod that Envoy cannot reach.
// What takes a choice away is told to extproc at once, and Envoy keeps serving
// the pod until extproc has answered; what gives a choice is told to extproc after
// Envoys have answered that they can reach it. A pod that is removed is thus left
// by its sessions before Envoy drops it, and a new pod takes none before Envoy
// knows it. A client that does not answer is waited for half a second, and then by
// nobody until it answers again.
//
// Everything that decides is pure and takes now: Desk (what operators, probes
// and files say of the pods), Build (services to resources) and Rollout (what
// whom is told when). Server is the one loop that drives them:
//
//	srv, err := xds.New(xds.Options{Logger: logger, Observer: monitor, Boot: boot})
//	...
//	err = srv.Run(ctx)
package xds
