// Package admin is extproc's HTTP API for an operator: metrics, health, sessions,
// replicas and statistics.
package admin
