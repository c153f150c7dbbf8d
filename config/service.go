package config

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// defaultConnectionIdleTimeout is below the five seconds after which many servers
// close idle connections (Node.js, uvicorn, Apache).
const defaultConnectionIdleTimeout = 4 * time.Second

// defaultStreamIdleTimeout is longer than the pauses of WebSockets and event
// streams, which Envoy would cut after five minutes, and still an end for streams
// that a client left without a word.
const defaultStreamIdleTimeout = time.Hour

// DefaultStrategy places new sessions where balancing.strategy is absent.
const DefaultStrategy = "home_hcl"

type rawService struct {
	Name  string `yaml:"name"`
	Match struct {
		Hosts  []string `yaml:"hosts" is:"a list of host names|[chat.example.com]"`
		Prefix *string  `yaml:"prefix"`
	} `yaml:"match"`
	Session     rawSession      `yaml:"session"`
	Balancing   rawBalancing    `yaml:"balancing"`
	Pods        rawPods         `yaml:"pods"`
	HealthCheck *rawHealthCheck `yaml:"health_check"`

	Protocol              *string    `yaml:"protocol"`
	TLS                   *rawPodTLS `yaml:"tls"`
	ConnectionIdleTimeout *duration  `yaml:"connection_idle_timeout"`
	StreamIdleTimeout     *duration  `yaml:"stream_idle_timeout"`
	RequestTimeout        *duration  `yaml:"request_timeout"`
}

type rawBalancing struct {
	Strategy           *string   `yaml:"strategy"`
	MaxConnections     uint32    `yaml:"max_connections"`
	MaxSessions        uint32    `yaml:"max_sessions"`
	ResponseTimeWindow *duration `yaml:"response_time_window"`
	SlowStart          *duration `yaml:"slow_start"`
}

type rawHealthCheck struct {
	HTTP           *string           `yaml:"http"`
	GRPC           *string           `yaml:"grpc"`
	TCP            bool              `yaml:"tcp"`
	Host           *string           `yaml:"host"`
	Headers        map[string]string `yaml:"headers"`
	None           bool              `yaml:"none"`
	Interval       *duration         `yaml:"interval"`
	Timeout        *duration         `yaml:"timeout"`
	UnhealthyAfter *int              `yaml:"unhealthy_after"`
	HealthyAfter   *int              `yaml:"healthy_after"`
}

func (raw *rawService) check(doc *document, at path) statefulroute.Service {
	svc := statefulroute.Service{
		Name:      raw.Name,
		Hosts:     raw.Match.Hosts,
		Prefix:    or(raw.Match.Prefix, "/"),
		Session:   raw.Session.check(doc, at.With("session")),
		Balancing: raw.Balancing.check(doc, at.With("balancing")),
		Pods:      raw.Pods.check(doc, at.With("pods")),

		ConnectionIdleTimeout: orDuration(raw.ConnectionIdleTimeout, defaultConnectionIdleTimeout),
		StreamIdleTimeout:     orDuration(raw.StreamIdleTimeout, defaultStreamIdleTimeout),
		RequestTimeout:        orDuration(raw.RequestTimeout, 0),
	}
	doc.envoyTimeout(at.With("connection_idle_timeout"), svc.ConnectionIdleTimeout)
	doc.envoyTimeout(at.With("stream_idle_timeout"), svc.StreamIdleTimeout)
	doc.envoyTimeout(at.With("request_timeout"), svc.RequestTimeout)
	if raw.HealthCheck == nil { // a session whose pod is gone would see 503 for ever
		raw.HealthCheck = &rawHealthCheck{TCP: true}
	}
	svc.Health = raw.HealthCheck.check(doc, at.With("health_check"))
	raw.checkProtocol(doc, at, &svc)
	svc.TLS = raw.TLS.check(doc, at.With("tls"), &svc)
	if !serviceName.MatchString(svc.Name) {
		doc.Refuse(at.With("name"), "%q must be 1 to 63 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit", svc.Name)
	}
	if strings.HasPrefix(svc.Name, wire.ClusterPrefix) {
		doc.Refuse(at.With("name"), "%q is reserved: clusters of Stateful Route itself begin with %s", svc.Name, wire.ClusterPrefix)
	}
	if len(svc.Hosts) == 0 {
		svc.Hosts = []string{"*"}
	}
	for i, h := range svc.Hosts {
		svc.Hosts[i] = strings.TrimSuffix(strings.ToLower(h), ".") // as Envoy takes what clients send
		if !hostName.MatchString(svc.Hosts[i]) {
			doc.Refuse(at.With("match", "hosts", i), "%q is not a host name, *.SUFFIX or *", h)
		}
	}
	checkPrefix(doc, at.With("match", "prefix"), svc.Prefix)
	raw.Session.Issue.checkMatch(doc, at.With("session", "issue"), &svc)
	return svc
}

// checkProtocol settles what the pods speak: where they are asked for their health by
// gRPC, it is that unless another is written.
func (raw *rawService) checkProtocol(doc *document, at path, svc *statefulroute.Service) {
	byGRPC := svc.Health != nil && svc.Health.GRPCSet
	svc.Protocol = statefulroute.HTTP1
	if byGRPC {
		svc.Protocol = statefulroute.GRPC
	}
	svc.Protocol = statefulroute.Protocol(or(raw.Protocol, string(svc.Protocol)))
	switch svc.Protocol {
	case statefulroute.HTTP1, statefulroute.HTTP2, statefulroute.GRPC, statefulroute.Auto:
	default:
		doc.Refuse(at.With("protocol"), "%q must be http1, http2, grpc or auto", svc.Protocol)
	}
	if byGRPC && svc.Protocol == statefulroute.HTTP1 {
		doc.Refuse(at.With("protocol"), "is http1, but health_check.grpc asks the pods by HTTP/2: one of the two is wrong")
	}
	if svc.Health != nil {
		svc.Health.HTTP2 = svc.Protocol == statefulroute.HTTP2 || svc.Protocol == statefulroute.GRPC
	}
}

func checkPrefix(doc *document, at path, prefix string) {
	if !strings.HasPrefix(prefix, "/") || strings.ContainsAny(prefix, "?#") {
		doc.Refuse(at, "%q must begin with / and hold no ? or #", prefix)
	}
	for segment := range strings.SplitSeq(prefix, "/") {
		if segment == "." || segment == ".." {
			doc.Refuse(at, "%q holds the segment %s, which Envoy resolves before it matches: no request would", prefix, segment)
		}
	}
}

func (raw *rawBalancing) check(doc *document, at path) statefulroute.BalancingPolicy {
	b := statefulroute.BalancingPolicy{
		Strategy:           or(raw.Strategy, DefaultStrategy),
		MaxConnections:     raw.MaxConnections,
		MaxSessions:        raw.MaxSessions,
		ResponseTimeWindow: orDuration(raw.ResponseTimeWindow, 30*time.Second),
		SlowStart:          orDuration(raw.SlowStart, 30*time.Second),
	}
	doc.Known(at.With("strategy"), b.Strategy, doc.strategies.Names())
	traits, _ := doc.strategies.Traits(b.Strategy)
	b.FixedWeights = traits.FixedWeights
	if b.ResponseTimeWindow <= 0 {
		doc.Refuse(at.With("response_time_window"), "must be more than 0")
	}
	doc.envoyTimeout(at.With("slow_start"), b.SlowStart)
	return b
}

// check returns nil where pods are not to be probed.
func (raw *rawHealthCheck) check(doc *document, at path) *statefulroute.HealthCheck {
	h := &statefulroute.HealthCheck{
		HTTP:           or(raw.HTTP, ""),
		GRPC:           or(raw.GRPC, ""),
		GRPCSet:        raw.GRPC != nil,
		TCP:            raw.TCP,
		Interval:       orDuration(raw.Interval, time.Second),
		UnhealthyAfter: or(raw.UnhealthyAfter, 2),
		HealthyAfter:   or(raw.HealthyAfter, 1),
	}
	h.Timeout = orDuration(raw.Timeout, min(500*time.Millisecond, h.Interval))
	if n := count(raw.HTTP != nil, raw.GRPC != nil, raw.TCP, raw.None); n != 1 {
		doc.Refuse(at, "exactly one of http, grpc, tcp and none is needed, found %d", n)
	}
	if raw.HTTP != nil && !strings.HasPrefix(h.HTTP, "/") {
		doc.Refuse(at.With("http"), "%q must begin with /", h.HTTP)
	}
	raw.checkRequest(doc, at, h)
	if h.Interval < 10*time.Millisecond {
		doc.Refuse(at.With("interval"), "must be at least 10ms")
	}
	switch {
	case h.Timeout < time.Millisecond:
		doc.Refuse(at.With("timeout"), "must be at least 1ms")
	case h.Timeout > h.Interval: // a hanging pod would be probed less often than in every interval
		doc.Refuse(at.With("timeout"), "%v is longer than the interval, %v", h.Timeout, h.Interval)
	}
	if h.UnhealthyAfter < 1 {
		doc.Refuse(at.With("unhealthy_after"), "must be at least 1")
	}
	if h.HealthyAfter < 1 {
		doc.Refuse(at.With("healthy_after"), "must be at least 1")
	}
	if raw.None {
		return nil
	}
	return h
}

// checkRequest is about what goes with the probe's request.
func (raw *rawHealthCheck) checkRequest(doc *document, at path, h *statefulroute.HealthCheck) {
	h.Host, h.Headers = or(raw.Host, ""), raw.Headers
	if raw.HTTP == nil && raw.GRPC == nil {
		if raw.Host != nil {
			doc.Refuse(at.With("host"), "is of http and grpc: nothing else asks for a host")
		}
		if raw.Headers != nil {
			doc.Refuse(at.With("headers"), "are of http and grpc: nothing else sends any")
		}
	}
	if raw.Host != nil && !probedHost.MatchString(h.Host) {
		doc.Refuse(at.With("host"), "%q is not a host, with or without a port", h.Host)
	}
	for name, value := range h.Headers {
		switch lower := strings.ToLower(name); {
		case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
			doc.Refuse(at.With("headers", name), "%q is not a header with a value that can be sent", name)
		case lower == "host":
			doc.Refuse(at.With("headers", name), "is health_check.host")
		case slices.Contains([]string{"connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade"}, lower) || strings.HasPrefix(lower, "grpc-"):
			doc.Refuse(at.With("headers", name), "%q is about the message itself: the probe sets it", name)
		}
	}
}

func count(set ...bool) int {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n
}
