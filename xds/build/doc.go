// Package build turns the services and their pods into Envoy's resources:
// listener, routes, clusters and endpoints. It is pure.
package build
