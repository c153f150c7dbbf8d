package envoy_test

import (
	"bytes"
	"fmt"

	"github.com/stateful-route/stateful-route/envoy"
)

func ExampleBootstrap() {
	config, err := envoy.Bootstrap(envoy.BootstrapOptions{NodeID: "envoy-1", XDS: "127.0.0.1:18000"})
	fmt.Println(bytes.Contains(config, []byte("id: envoy-1")), err)
	// Output: true <nil>
}
