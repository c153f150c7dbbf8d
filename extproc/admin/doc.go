// Package admin is extproc's HTTP API for an operator: metrics, health, sessions and
// statistics.
package admin
