// Package haproxy has the ways in which people keep sessions with HAProxy.
//
// Pods are changed as its manual says. With a stick-table, servers are added, moved,
// drained and deleted by the runtime API. A dynamic server takes no cookie in HAProxy
// 2.6: with a cookie, all but states is changed by a reload of the master process, after
// the servers' states were saved for the new worker.
package haproxy

import (
	"context"
	_ "embed"

	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

var (
	//go:embed haproxy.cfg.tmpl
	commonText string
	//go:embed cookie.cfg.tmpl
	cookieText string
	//go:embed table.cfg.tmpl
	tableText string
	//go:embed longtable.cfg.tmpl
	longTableText string
)

const (
	manual     = "https://docs.haproxy.org/2.6/configuration.html"
	management = "https://docs.haproxy.org/2.6/management.html"
)

// Adapters are all of them.
func Adapters() []gateway.Adapter {
	cookie := adapter("haproxy-cookie", "HAProxy, cookie with the server's name inserted", false, commonText, cookieText)
	cookie.Documented = []string{manual + "#4.2-cookie", manual + "#5.2-cookie", management + "#9.3-set%20server"}
	cookie.Key = gateway.Key{Kind: gateway.IssuedCookie, Name: "SRV"}
	cookie.Without[gateway.ClientIDs] = "the cookie names a server, not a session"
	cookie.Without[gateway.LongIDs] = "the cookie names a server, not a session"
	table := adapter("haproxy-table", "HAProxy, stick-table on a header as most have it: `type string`, 32 characters", true, commonText, tableText)
	table.Documented = []string{manual + "#4.2-stick-table", manual + "#4.2-stick%20on", manual + "#3.5", management + "#9.3-add%20server", management + "#9.3-set%20server"}
	long := adapter("haproxy-table-long", "HAProxy, stick-table on a header with `len 8192`", true, commonText, tableText, longTableText)
	long.Documented = table.Documented
	return []gateway.Adapter{cookie, table, long}
}

func adapter(name, description string, table bool, texts ...string) gateway.Adapter {
	configuration := fleet.Template(texts...)
	return gateway.Adapter{
		Name: name, Description: description,
		Key:     gateway.Key{Kind: gateway.Header, Name: "x-session-id"},
		Without: map[gateway.Feature]string{gateway.ControlPlaneApart: fleet.OwnControlPlane},
		Available: func(context.Context) error {
			_, err := program.Path()
			return err
		},
		Start: func(ctx context.Context, o gateway.Options) (gateway.Gateway, error) {
			return fleet.New(ctx, o, 1, &product{configuration, table, o.Health})
		},
	}
}
