// Package envoy renders the bootstrap that an Envoy needs to be led by xds-server.
//
// The folder also holds what a user copies: bootstrap.yaml (what Bootstrap
// renders by default), xds-server.yaml and extproc.yaml.
package envoy
