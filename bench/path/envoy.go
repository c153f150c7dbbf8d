package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"text/template"
)

// staticEnvoy is an Envoy that no control plane leads: a listener of defaults, the router, a
// cluster of the pods, and what a row adds.
type staticEnvoy struct {
	Listener string
	Pods     []string
	Filters  string // before the router
	Route    string // more of the route's action
	Cluster  string // more of the pods' cluster
	Clusters string // more clusters
}

const staticText = `
static_resources:
  listeners:
  - name: bench
    address: {{address .Listener}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: pods{{.Route}}}}]}
          http_filters:
{{- .Filters}}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: pods
    type: STATIC
{{- .Cluster}}
    load_assignment:
      cluster_name: pods
      endpoints:
      - lb_endpoints:
{{- range .Pods}}
        - endpoint: {address: {{address .}}}
{{- end}}
{{- .Clusters}}
`

const cookieFilter = `
          - name: envoy.filters.http.stateful_session
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession
              session_state:
                name: envoy.http.stateful_session.cookie
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState
                  cookie: {name: pod, path: /}`

const ringRoute = `, hash_policy: [{header: {header_name: x-session-id}}]`

const ringCluster = `
    lb_policy: RING_HASH`

const noopFilters = `
          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {envoy_grpc: {cluster_name: noop}, timeout: 1s}
              processing_mode: {request_header_mode: SEND, response_header_mode: SKIP}
          - name: envoy.filters.http.stateful_session
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession
              strict: true
              session_state:
                name: envoy.http.stateful_session.header
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState
                  name: ` + destinationHeader

const noopCluster = `
  - name: noop
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: noop
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: "SOCKET"}}}}]}]`

func (e staticEnvoy) text() (string, error) {
	t, err := template.New("envoy").Funcs(template.FuncMap{"address": socketAddress}).Parse(staticText)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = t.Execute(&b, e)
	return b.String(), err
}

func socketAddress(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port), err
}

// static is the start of such an Envoy.
func static(e staticEnvoy) starter {
	return func(_ context.Context, b *bench, f *front) error {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		f.addresses = [3]string{1: address, 2: address}
		e.Listener, e.Pods = address, f.pods
		text, err := e.text()
		if err != nil {
			return err
		}
		file, err := b.write(f, "envoy.yaml", text)
		if err != nil {
			return err
		}
		return b.startEnvoy(f, file)
	}
}

// startEnvoy starts one with a single worker, as every proxy here has.
func (b *bench) startEnvoy(f *front, file string) error {
	p, err := b.start(f.name+"-envoy", proxy, b.envoy, "--config-path", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
	if err == nil {
		f.processes = append(f.processes, p)
	}
	return err
}

// startNoop is an Envoy with an external processor of the simplest kind.
func startNoop(ctx context.Context, b *bench, f *front) error {
	socket := filepath.Join(b.dir, "noop.sock")
	p, err := b.start("noop", callout, b.self, append([]string{"noop", socket}, f.pods...)...)
	if err != nil {
		return err
	}
	f.processes = append(f.processes, p)
	return static(staticEnvoy{Filters: noopFilters, Clusters: strings.Replace(noopCluster, "SOCKET", socket, 1)})(ctx, b, f)
}
