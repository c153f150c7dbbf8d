// Package envoy renders the bootstrap that an Envoy needs to be led by xds-server.
//
//	config, err := envoy.Bootstrap(envoy.BootstrapOptions{XDS: "127.0.0.1:18000"})
//
// The folder also holds what a user copies: bootstrap.yaml (what Bootstrap
// renders by default), xds-server.yaml and extproc.yaml.
package envoy
