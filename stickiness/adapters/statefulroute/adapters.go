// Package statefulroute has Stateful Route as its README sets it up: by the programs
// that `make build` leaves and their files, as an operator would; it imports none of it.
//
// A gateway is a machine with Envoy and extproc, led by an xds-server of its own. Pods
// come from a file; drains are orders to the admin API (`routectl pods drain`).
package statefulroute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/stateful-route/stateful-route/stickiness/adapters/envoyproc"
	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// kind is what the adapters differ in.
type kind struct {
	session  string // line of the configuration: where a session's name is
	module   bool   // the fast path
	replicas bool   // each gateway has an extproc of its own; they share a store
}

const byHeader = "key: [{header: x-session-id}]"

// Adapters are all of them, with the programs where `make build` leaves them, seen from the
// checkout, unless the environment variable STATEFUL_ROUTE_BIN names another folder, and the
// Envoy that is installed.
func Adapters() []gateway.Adapter {
	return With(cmp.Or(os.Getenv("STATEFUL_ROUTE_BIN"), "bin"), envoyproc.Program)
}

// With are the adapters with the programs of a folder, and an Envoy.
func With(bin string, envoy fleet.Program) []gateway.Adapter {
	from := source{bin, envoy}
	callout := from.adapter("stateful-route", "Stateful Route, header, every request asks extproc", kind{session: byHeader})
	fast := from.adapter("stateful-route-fast", "Stateful Route, header, known sessions by Envoy's module", kind{session: byHeader, module: true})
	replicas := from.adapter("stateful-route-replicas", "Stateful Route, header, an extproc and module for each gateway, sessions shared by Redis", kind{session: byHeader, module: true, replicas: true})
	delete(replicas.Without, gateway.TwoGateways)
	replicas.Documented = append([]string{"README.md#replicas"}, replicas.Documented...)

	cookie := from.adapter("stateful-route-cookie", "Stateful Route, cookie issued, module", kind{session: "issue: {cookie: stateful-route, ttl: 24h}", module: true})
	cookie.Key = gateway.Key{Kind: gateway.IssuedCookie, Name: "stateful-route"}
	cookie.Without[gateway.ClientIDs] = "the gateway makes the ids"
	cookie.Without[gateway.LongIDs] = "the gateway makes the ids"

	learn := from.adapter("stateful-route-learn", "Stateful Route, cookie that pods set is learned, module", kind{session: "learn: [{cookie: sid}]", module: true})
	learn.Key = gateway.Key{Kind: gateway.LearnedCookie, Name: "sid"}
	learn.Without[gateway.ClientIDs] = "pods make the ids"
	learn.Without[gateway.LongIDs] = "pods make the ids"
	return []gateway.Adapter{callout, fast, replicas, cookie, learn}
}

// source is where the programs come from.
type source struct {
	bin   string
	envoy fleet.Program
}

func (s source) adapter(name, description string, k kind) gateway.Adapter {
	return gateway.Adapter{
		Name: name, Description: description,
		Key:          gateway.Key{Kind: gateway.Header, Name: "x-session-id"},
		Documented:   []string{"README.md#your-own-envoy", "README.md#configuration", "README.md#the-fast-path", "README.md#see-and-steer-it"},
		ReasonHeader: "x-stateful-route-reason",
		RoutingHeaders: []string{
			"x-stateful-route-destination", "x-stateful-route-service", "x-stateful-route-epoch", "x-stateful-route-pod", "x-stateful-route-confirm",
		},
		Without: map[gateway.Feature]string{gateway.TwoGateways: "with store.memory bindings are one extproc's; stateful-route-replicas shares them"},
		Available: func(context.Context) error {
			_, err := s.find(k)
			return err
		},
		Start: func(ctx context.Context, o gateway.Options) (gateway.Gateway, error) {
			p, err := s.find(k)
			if err != nil {
				return nil, err
			}
			return start(ctx, o, k, p)
		},
	}
}

// programs are the files of what runs.
type programs struct {
	xdsServer, extproc, module, store string
	envoy                             fleet.Program
}

// find looks for them.
func (s source) find(k kind) (programs, error) {
	bin, err := filepath.Abs(s.bin)
	if err != nil {
		return programs{}, err
	}
	p := programs{xdsServer: filepath.Join(bin, "xds-server"), extproc: filepath.Join(bin, "extproc")}
	files := []string{p.xdsServer, p.extproc}
	if k.module {
		p.module = filepath.Join(bin, "libstateful_route.so")
		files = append(files, p.module)
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			return programs{}, fmt.Errorf("%s is not built (make build)", filepath.Base(file))
		}
	}
	if k.replicas {
		if p.store, err = findStore(); err != nil {
			return programs{}, err
		}
	}
	p.envoy = s.envoy
	_, err = s.envoy.Path()
	return p, err
}

func findStore() (string, error) {
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("neither valkey-server nor redis-server is installed")
}
