// Package gateway is what the stickiness suite knows of a gateway: how it is
// started in front of pods, how its pods are changed, and how a client names a
// session to it. An adapter is one small file that fills in an Adapter:
//
//	func Mine() gateway.Adapter {
//		return gateway.Adapter{
//			Name:        "mine-cookie",
//			Description: "Mine 3.1, cookie inserted",
//			Documented:  []string{"https://example.org/mine/persistence.html"},
//			Key:         gateway.Key{Kind: gateway.IssuedCookie, Name: "SERVERID"},
//			Without: map[gateway.Feature]string{
//				gateway.ClientIDs: "the gateway makes the cookie, a client has no id to choose",
//				gateway.GRPC:      "mine 3.1 speaks HTTP/1.1 to pods only",
//			},
//			Available: func(ctx context.Context) error { … look for the program … },
//			Start:     func(ctx context.Context, o gateway.Options) (gateway.Gateway, error) { … },
//		}
//	}
//
// The configuration is to be what a good administrator would write who has read
// the pages of Documented: the product's stickiness switched on and meant, not
// its defaults and not a trick made for this suite. What a product cannot do is
// named in Without with its reason; the schedules that need it are then shown as
// n/a with that reason.
//
// The suite never asks a gateway what it believes. It judges by the answers of
// the pods alone, which sign them.
package gateway
