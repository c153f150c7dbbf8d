// Package adapters is the list of the gateways that the suite knows. A new one is
// a file of this package, or a package below it, and a row of All.
package adapters

import (
	"slices"

	"github.com/stateful-route/stateful-route/stickiness/adapters/caddy"
	"github.com/stateful-route/stateful-route/stickiness/adapters/envoy"
	"github.com/stateful-route/stateful-route/stickiness/adapters/haproxy"
	"github.com/stateful-route/stateful-route/stickiness/adapters/nginx"
	"github.com/stateful-route/stateful-route/stickiness/adapters/statefulroute"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// All are the adapters in the order of the table.
func All() []gateway.Adapter {
	return slices.Concat(haproxy.Adapters(), nginx.Adapters(), envoy.Adapters(), caddy.Adapters(), statefulroute.Adapters())
}
