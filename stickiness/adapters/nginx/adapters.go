// Package nginx has the ways in which people keep sessions with open-source NGINX.
//
// All changes of pods are a new configuration and a reload (SIGHUP), as its manual says;
// the API that changes upstreams is in the commercial product.
package nginx

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

var (
	//go:embed nginx.conf.tmpl
	commonText string
	//go:embed hash.conf.tmpl
	hashText string
	//go:embed sticky-cookie.conf.tmpl
	stickyCookieText string
	//go:embed sticky-learn.conf.tmpl
	stickyLearnText string
)

const (
	upstream = "https://nginx.org/en/docs/http/ngx_http_upstream_module.html"
	control  = "https://nginx.org/en/docs/control.html"
	// stickySince is the first open-source version with `sticky` and `drain`.
	stickySince = "1.29.6"
)

// Adapters are all of them.
func Adapters() []gateway.Adapter {
	hash := adapter("nginx-hash", "NGINX, consistent hash of a header", "1.9.13", commonText, hashText)
	hash.Key = gateway.Key{Kind: gateway.Header, Name: "x-session-id"}
	hash.Documented = []string{upstream + "#hash", control}
	hash.Without[gateway.Drain] = "`server … drain` is for `sticky` only"

	cookie := adapter("nginx-sticky-cookie", "NGINX, `sticky cookie`", stickySince, commonText, stickyCookieText)
	cookie.Key = gateway.Key{Kind: gateway.IssuedCookie, Name: "srv_id"}
	cookie.Documented = []string{upstream + "#sticky_cookie", control}
	cookie.Without[gateway.ClientIDs] = "the cookie names a server, not a session"
	cookie.Without[gateway.LongIDs] = "the cookie names a server, not a session"

	learn := adapter("nginx-sticky-learn", "NGINX, `sticky learn` of a cookie that pods set", stickySince, commonText, stickyLearnText)
	learn.Key = gateway.Key{Kind: gateway.LearnedCookie, Name: "sid"}
	learn.Documented = []string{upstream + "#sticky_learn", control}
	learn.Without[gateway.ClientIDs] = "pods make the ids"
	learn.Without[gateway.LongIDs] = "pods make the ids"
	learn.Without[gateway.TwoGateways] = "the table is one instance's; `sync` is in the commercial product"
	return []gateway.Adapter{hash, cookie, learn}
}

func adapter(name, description, since string, texts ...string) gateway.Adapter {
	configuration := fleet.Template(texts...)
	return gateway.Adapter{
		Name: name, Description: description,
		Without: map[gateway.Feature]string{
			gateway.ControlPlaneApart: fleet.OwnControlPlane,
			gateway.HealthChecks:      "open-source NGINX has no active checks, it learns from requests that failed",
		},
		Available: func(ctx context.Context) error {
			v, err := program.Version(ctx, "-v")
			if err == nil && !fleet.AtLeast(v, since) {
				err = fmt.Errorf("nginx is %s, this needs %s; NGINX=FILE names another one", v, since)
			}
			return err
		},
		Start: func(ctx context.Context, o gateway.Options) (gateway.Gateway, error) {
			f, err := fleet.New(ctx, o, 1, &product{configuration, o.Health})
			if err != nil {
				return nil, err
			}
			return fleet.WithGRPC{Fleet: f}, nil
		},
	}
}
