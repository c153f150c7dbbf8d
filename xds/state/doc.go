// Package state holds what is known of the services and their pods: what each
// owner says (their source, the operator, the health checks, the load), the sum of
// it, and the part of it that outlives xds-server.
package state
