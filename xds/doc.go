// Package xds is the control plane: it turns services and their pods into
// Envoy's resources (LDS, RDS, CDS, EDS), and serves them over ADS in delta and
// state-of-the-world to any Envoy and to extproc. Their load reports (LRS) are
// package load's.
//
// Changes are made before they are broken (see Rollout): an extproc must never
// choose a pod that an Envoy cannot reach. A pod that is removed is left by its
// sessions before Envoys drop it, and a new pod gets none before Envoys know it. A
// client that does not answer is waited for half a second. After that nobody waits
// for it until it answers again.
//
// Everything that decides is pure, and gets the time as an argument: state.Store
// (what operators, health checks and sources say of the pods), package build
// (services to resources) and Rollout (who is told what, and when). Server is the one
// loop that drives them.
package xds
