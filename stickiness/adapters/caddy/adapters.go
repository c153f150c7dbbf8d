// Package caddy has the ways in which people keep sessions with Caddy.
//
// All changes of pods are a new Caddyfile and `caddy reload`.
package caddy

import (
	"context"
	_ "embed"
	"text/template"

	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

//go:embed Caddyfile.tmpl
var commonText string

const (
	proxyDocs  = "https://caddyserver.com/docs/caddyfile/directives/reverse_proxy"
	reloadDocs = "https://caddyserver.com/docs/command-line#caddy-reload"
)

// Adapters are all of them.
func Adapters() []gateway.Adapter {
	cookie := adapter("caddy-cookie", "Caddy, `lb_policy cookie`", `{{define "policy"}}cookie lb{{end}}`)
	cookie.Key = gateway.Key{Kind: gateway.IssuedCookie, Name: "lb"}
	cookie.Without[gateway.ClientIDs] = "the cookie names a server, not a session"
	cookie.Without[gateway.LongIDs] = "the cookie names a server, not a session"

	header := adapter("caddy-header", "Caddy, `lb_policy header` (rendezvous hash)", `{{define "policy"}}header x-session-id{{end}}`)
	header.Key = gateway.Key{Kind: gateway.Header, Name: "x-session-id"}
	return []gateway.Adapter{cookie, header}
}

func adapter(name, description, policy string) gateway.Adapter {
	configuration := fleet.Template(commonText, policy)
	return gateway.Adapter{
		Name: name, Description: description,
		Documented: []string{proxyDocs + "#load-balancing", proxyDocs + "#active-health-checks", reloadDocs},
		Without: map[gateway.Feature]string{
			gateway.ControlPlaneApart: fleet.OwnControlPlane,
			gateway.Drain:             "an upstream is in the list or not",
		},
		Available: func(context.Context) error {
			_, err := program.Path()
			return err
		},
		Start: func(ctx context.Context, o gateway.Options) (gateway.Gateway, error) {
			return fleet.New(ctx, o, 1, &product{configuration, o.Health})
		},
	}
}

type product struct {
	configuration *template.Template
	health        gateway.Health
}
