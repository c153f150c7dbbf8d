package statefulroute

import (
	"maps"
	"slices"
	"time"
)

// Service is one Envoy cluster and the policy by which sessions stick to its pods.
type Service struct {
	// Name is the Envoy cluster name, metric label value and URL segment.
	Name string
	// Hosts are the authorities the service answers for; "*" means any and
	// "*.example.com" any subdomain.
	Hosts []string
	// Prefix is the path prefix, matched by whole segments; "/" means any path.
	Prefix    string
	Session   SessionPolicy
	Balancing BalancingPolicy
	Health    *HealthCheck // nil: pods are not probed
	Pods      PodSource
	// Protocol is what Envoy speaks with the pods.
	Protocol Protocol
	// TLS, when set, has that spoken over TLS.
	TLS *PodTLS
	// ConnectionIdleTimeout is how long Envoy keeps a connection to a pod that
	// carries no request; 0 means until the pod closes it. It must be shorter than
	// the time after which pods close them: a request on a connection that is
	// being closed fails.
	ConnectionIdleTimeout time.Duration
	// StreamIdleTimeout is how long a request, stream or WebSocket may be open
	// without a byte in either direction; 0 means for ever.
	StreamIdleTimeout time.Duration
	// RequestTimeout bounds a whole answer, from the end of the request on; 0 means
	// that nothing does.
	RequestTimeout time.Duration
}

// SessionPolicy says how a session is recognised and what happens when its pod,
// or the external processor itself, is lost.
type SessionPolicy struct {
	// Key lists where a request may carry its session key; the first source
	// that is present and not empty wins. None present: an unbound request.
	Key []SessionSource
	// Learn lists where a response may name a session that its pod created.
	Learn []SessionSource
	// Issue, when set, gives a cookie to clients that have no session.
	Issue *IssuedCookie
	// End lists the requests that end their session once its pod has answered with 2xx.
	End []SessionEnd
	// IdleTimeout is how long an unused binding is kept. 0 means the external
	// processor's default_expiration.
	IdleTimeout time.Duration
	OnPodLoss   PodLossPolicy
	// OnExtprocLoss says what Envoy does with a request that the external
	// processor did not answer.
	OnExtprocLoss ExtprocLossPolicy
	// EpochHeader has each bound request tell its pod the binding's epoch.
	EpochHeader bool
	// OnStoreLoss says what an external processor does that shares its bindings with
	// others and cannot ask the store.
	OnStoreLoss StoreLossPolicy
	// FastPath lets an Envoy that has the module answer for known sessions by itself.
	FastPath bool
}

// Keys are the places that hold a session key: those of Key, and the cookie of Issue, which
// is also read back. issued is the index of that, -1 where there is none.
func (p SessionPolicy) Keys() (sources []SessionSource, issued int) {
	if p.Issue == nil {
		return p.Key, -1
	}
	ours := SessionSource{Kind: FromCookie, Name: p.Issue.Name}
	if i := slices.IndexFunc(p.Key, ours.Equal); i >= 0 {
		return p.Key, i
	}
	return append(slices.Clone(p.Key), ours), len(p.Key)
}

// Shown reports whether an Envoy that has the module may answer for known sessions by itself:
// requests that tell their pods the epoch have to be seen by the external processor.
func (p SessionPolicy) Shown() bool { return p.FastPath && !p.EpochHeader }

// SessionSource names one place that can hold a session key: its kind, and what
// that kind has to know. Package sessionkey knows the kinds.
type SessionSource struct {
	Kind SourceKind
	// Name is the header, cookie or query parameter; for FromPath, the RE2
	// pattern whose first group is the key. It is empty for a kind that has Params.
	Name string
	// Params are what a kind is given by name, as in the configuration; nil for a
	// kind that has a Name.
	Params map[string]string
}

// Equal reports whether two sources are the same place.
func (s SessionSource) Equal(o SessionSource) bool {
	return s.Kind == o.Kind && s.Name == o.Name && maps.Equal(s.Params, o.Params)
}

// SessionEnd is a kind of request by which a client ends its session.
type SessionEnd struct {
	Method string
	// Path is an RE2 pattern found in the path without its query; empty means any path.
	Path string
}

// SourceKind is the kind of place a session key is read from, spelled as in the
// configuration.
type SourceKind string

// The kinds of session source that have a Name.
const (
	FromHeader SourceKind = "header"
	FromCookie SourceKind = "cookie"
	FromQuery  SourceKind = "query"
	FromPath   SourceKind = "path"
)

// IssuedCookie is a session cookie that Stateful Route itself hands out.
type IssuedCookie struct {
	Name string
	// TTL is the cookie's Max-Age; 0 makes it a browser-session cookie.
	TTL time.Duration
	// SameSite says with which requests of other sites it is sent; empty means Lax.
	SameSite SameSite
	// Domain, when set, has it sent to all hosts under it.
	Domain string
	// Path is the path under which it is sent; empty means "/".
	Path string
	// Partitioned keeps one cookie for each site that embeds the service.
	Partitioned bool
	// Renew prolongs the cookie of a client that comes when less than half of TTL is left.
	Renew bool
}

// SameSite says with which requests that other sites make a cookie is sent.
type SameSite string

const (
	// Lax has it sent with those by which a user comes here.
	Lax SameSite = "lax"
	// Strict has it sent with none.
	Strict SameSite = "strict"
	// None has it sent with all, over TLS only.
	None SameSite = "none"
)

// PodTLS is how Envoy, and the health checks, speak TLS with a service's pods.
type PodTLS struct {
	// CA is a PEM file of the authorities of which one must have issued a pod's
	// certificate; empty means those of the machine that xds-server runs on.
	CA string
	// ServerName is the DNS name that is asked for, and that a pod's certificate must
	// be for.
	ServerName string
	// Cert and Key are PEM files of the certificate that is shown to pods, and its
	// private key; both empty: none is.
	Cert, Key string
}

// Certificate is one that Envoy shows to its clients.
type Certificate struct {
	// Hosts are the names for which it is shown, "*.example.com" any below
	// example.com; empty means all that no other certificate is for.
	Hosts []string
	// Cert and Key are PEM files: the certificate, with those between it and its
	// authority, and its private key.
	Cert, Key string
}

// Protocol is what is spoken on the connections to a service's pods.
type Protocol string

const (
	// HTTP1 is HTTP/1.1, whatever the client speaks.
	HTTP1 Protocol = "http1"
	// HTTP2 is HTTP/2, which the pod is known to speak.
	HTTP2 Protocol = "http2"
	// GRPC is HTTP2, for pods that speak gRPC.
	GRPC Protocol = "grpc"
	// Auto is what the client speaks; over TLS, what the pod chooses (ALPN).
	Auto Protocol = "auto"
)

// PodLossPolicy says what becomes of a session whose pod is gone.
type PodLossPolicy string

const (
	// Rebind gives the session a new pod, once, counted and visible.
	Rebind PodLossPolicy = "rebind"
	// Reject answers 503 with `x-stateful-route-reason: pod-lost`.
	Reject PodLossPolicy = "reject"
)

// ExtprocLossPolicy says what becomes of a request that no external processor answered.
type ExtprocLossPolicy string

const (
	// Allow lets the request through unbound, balanced by weight.
	Allow ExtprocLossPolicy = "allow"
	// Deny answers 503 rather than send an unbound request.
	Deny ExtprocLossPolicy = "deny"
)

// StoreLossPolicy says what becomes of sessions while the store of their bindings is away.
type StoreLossPolicy string

const (
	// AllowStoreLoss has bound sessions go on while their pod serves, and sends new ones to
	// their home, which all replicas compute alike.
	AllowStoreLoss StoreLossPolicy = "allow"
	// DenyStoreLoss answers 503 to those for which the replica cannot answer.
	DenyStoreLoss StoreLossPolicy = "deny"
)

// BalancingPolicy configures how new sessions and unbound requests are placed.
type BalancingPolicy struct {
	// Strategy is a name registered in package balancing.
	Strategy string
	// FixedWeights is a trait of the strategy: pods keep their configured weights
	// whatever the load.
	FixedWeights bool
	// MaxConnections caps the in-flight requests of one pod; 0 means no cap.
	MaxConnections uint32
	// MaxSessions caps the sessions bound to one pod; 0 means no cap.
	MaxSessions uint32
	// ResponseTimeWindow is how long a pod that is being sent requests may go
	// without a response before it is probed at once.
	ResponseTimeWindow time.Duration
	// SlowStart is how long a pod's weight takes to reach its full value that is
	// new, serves again after it did not, or has another address; 0 means at once.
	SlowStart time.Duration
}

// HealthCheck is an active probe of a service's pods. Exactly one of HTTP, GRPC
// and TCP is set.
type HealthCheck struct {
	// HTTP is the path of a GET that must answer 2xx.
	HTTP string
	// GRPC is the service name asked for with grpc.health.v1; GRPCSet tells an
	// empty name (the whole server) from none.
	GRPC    string
	GRPCSet bool
	// TCP asks only for an accepted connection.
	TCP bool
	// Host is the host that HTTP and GRPC ask for; empty is the pod's address.
	Host string
	// Headers go with HTTP's request, and as metadata with GRPC's.
	Headers map[string]string
	// HTTP2 has HTTP asked by HTTP/2: pods may speak nothing else.
	HTTP2 bool
	// Interval is the pause between two probes of a pod, before jitter.
	Interval time.Duration
	// Timeout bounds one probe.
	Timeout time.Duration
	// UnhealthyAfter and HealthyAfter are the consecutive results that change a
	// pod's state, at least 1.
	UnhealthyAfter int
	HealthyAfter   int
}

// PodSource says where a service's pods come from: Static lists them, or Discovery
// finds them.
type PodSource struct {
	Static    []Pod
	Discovery PodDiscovery
	// Hold is how long Discovery must go on saying that more than half of its pods are
	// gone at once before that is believed, and that any is where its lists are partial;
	// 0 believes it at once.
	Hold time.Duration
}

// PodDiscovery is the configuration of a source that pods are found at. Each kind is a
// type of its own, see package xds/discovery.
type PodDiscovery interface {
	// String names the source: two of one name say the same.
	String() string
	// Written reports whether somebody writes the list, so that a pod which it lacks
	// is gone: a name server's answer may lack a pod that is there.
	Written() bool
}

// Written is PodDiscovery's, and true of a static list.
func (p PodSource) Written() bool { return p.Discovery == nil || p.Discovery.Written() }
