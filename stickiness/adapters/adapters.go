// Package adapters is the list of the gateways that the suite knows. A new one is
// a file of this package, or a package below it, and a row of All.
package adapters

import "github.com/stateful-route/stateful-route/stickiness/gateway"

// All are the adapters in the order of the table.
func All() []gateway.Adapter {
	return []gateway.Adapter{}
}
