// Package xds is the control plane: it turns services and their pods into
// Envoy's resources (LDS, RDS, CDS, EDS), serves them over ADS in delta and
// state-of-the-world to any Envoy and to extproc, and reads back their load
// reports (LRS).
//
// The idea is that extproc must never choose a pod that Envoy cannot reach, so
// a change goes out in three stages, each acknowledged before the next: Envoy
// learns what was added while it keeps what goes away; extproc learns the new
// truth; Envoy forgets what went away. A pod that is removed is thus left by
// its sessions before Envoy drops it, and a new pod takes none before Envoy
// knows it.
//
// Everything that decides is pure and takes now: Desk (what operators, probes
// and files say of the pods), Build (services to resources) and Rollout (the
// stages). Server is the one loop that drives them:
//
//	srv, err := xds.New(xds.Options{Config: cfg, Logger: logger})
//	...
//	err = srv.Run(ctx)
package xds
