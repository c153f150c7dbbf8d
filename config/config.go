// Package config reads the strict YAML of xds-server and extproc. Whatever is
// unknown, doubled, missing or out of range is refused with the file, the line
// and the reason; nothing is guessed, and a caller that reloads keeps its last
// good value when an error comes back.
package config

import (
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/xds/secret"
)

// XDSServer is the configuration of cmd/xds-server.
type XDSServer struct {
	// Listen is where Envoys and extprocs connect. Default 127.0.0.1:18000.
	Listen string
	// Admin is the HTTP address of the page, API and metrics. Default 127.0.0.1:18001.
	Admin string
	// AdminHosts are names, beside IP addresses and names of one label, under
	// which Admin may be asked. Default none.
	AdminHosts []string
	// State is a file that keeps operators' orders (drain, maintenance) and the last
	// good pods of each source over a restart, named in the configuration relative
	// to its own folder. Default empty: they end with the process.
	State    string
	Envoy    Envoy
	Services []statefulroute.Service
	Analyzer Analyzer
	// Limits bound the Envoys and extprocs that connect. Default 5,000 connections,
	// and four streams for each.
	Limits ClientLimits
	// Insecure allows private keys to travel in plain text to whoever asks at Listen,
	// from other machines as well. Default false.
	Insecure bool
}

// Secrets are the certificates and keys that are named, each once.
func (c *XDSServer) Secrets() []secret.Ref { return secret.Refs(c.Envoy.TLS, c.Services) }

// Envoy is what xds-server tells every Envoy beside the services.
type Envoy struct {
	// Listeners are where Envoy accepts clients. Default 0.0.0.0:10000.
	Listeners []Listener
	// TLS are the certificates of the listeners with TLS. Default none, and no TLS.
	TLS     []statefulroute.Certificate
	Extproc Extprocs
	// TrustedHops is how many proxies before Envoy are trusted with x-forwarded-for
	// and -proto. Default 0: what clients say there is not believed.
	TrustedHops uint32
	// HTTP10 has Envoy take HTTP/1.0 requests. Default false: they get 426.
	HTTP10 bool
	// DebugHeaders puts x-stateful-route-pod on every response. Default false.
	DebugHeaders bool
	// Tracing has Envoy export spans. Default off.
	Tracing Tracing
}

// Listener is one address that Envoy accepts clients on.
type Listener struct {
	// Address is IP:PORT. That of IPv6's [::] takes IPv4, too.
	Address string
	// TLS is what is spoken there. Default true where Envoy has certificates.
	TLS bool
}

// Tracing says where Envoy sends spans of its own, so that what Envoy and
// extproc did for a request is one trace. The zero value is off.
type Tracing struct {
	// OTLP is the IP:PORT of a collector that speaks OTLP over gRPC; empty is off.
	OTLP string
	// Sample is the share, in percent, of the requests without a trace context
	// that a trace is kept of. Default 100. A client's own decision is followed
	// whatever Sample says; 0 follows only those.
	Sample float64
}

// Extprocs is where Envoy finds its external processors.
type Extprocs struct {
	// Addresses are IP:PORT or unix:PATH, one per replica. Default 127.0.0.1:18080.
	Addresses []string
	// MessageTimeout bounds one answer of the external processor. Default 200ms.
	MessageTimeout time.Duration
	// SessionAffinity has each session's requests be asked of the same replica, as long
	// as it is there. Default false: of the least busy one.
	SessionAffinity bool
}

// Analyzer configures the performance analyzer.
type Analyzer struct {
	// Interval is the time between two evaluations. Default 5s.
	Interval time.Duration
	// History is how many evaluations are kept. Default 720.
	History int
	// RealTime logs high and critical issues as they open and resolve. Default true.
	RealTime bool
	// Historical adds trends and changes over the history. Default true.
	Historical bool
	// Rules join the analyzer's own, or replace them by their names. Default none.
	Rules []analysis.Rule
}

// Extproc is the configuration of cmd/extproc.
type Extproc struct {
	// Listen is the gRPC address, IP:PORT or unix:PATH. Default 127.0.0.1:18080.
	Listen string
	// Admin is the HTTP address of the session API and metrics. Default 127.0.0.1:18081.
	Admin string
	// AdminHosts are names, beside IP addresses and names of one label, under
	// which Admin may be asked. Default none.
	AdminHosts []string
	// XDS is xds-server's address. Default 127.0.0.1:18000.
	XDS string
	// State is the file in which the last good services and pods outlive the process,
	// so that it can serve while xds-server is away; named in the configuration
	// relative to its own folder. Default none.
	State    string
	Affinity Affinity
	Store    Store
	FastPath FastPath
	// Limits bound the Envoys that connect. Default 1,024 connections and 100,000
	// streams: one for each request in flight.
	Limits ClientLimits
}

// FastPath shares the session table with Envoys on the same machine that have the module.
type FastPath struct {
	// Table is the file that is shared, best in a file system in memory; named in the
	// configuration relative to its own folder, which must exist. Default empty: off.
	Table string
}

// Affinity configures the session table.
type Affinity struct {
	// Strategy is a name registered in package evict. Default lru.
	Strategy string
	// Capacity is the most bindings kept. Default 1000000.
	Capacity int
	// DefaultExpiration is how long an unused binding lives where its service
	// sets no idle_timeout. Default 30m.
	DefaultExpiration time.Duration
	// CleanupInterval is the time between two sweeps for expired bindings. Default 1m.
	CleanupInterval time.Duration
}

// Store says where bindings are; exactly one field is set.
type Store struct {
	Memory *MemoryStore
	Valkey *ValkeyStore
}

// ValkeyStore shares bindings with other replicas in a Valkey or Redis.
type ValkeyStore struct {
	// Addresses are HOST:PORT of one server, the seeds of a cluster, or sentinels.
	Addresses []string
	// Sentinel is the name by which sentinels know the server; empty: they are none. Default none.
	Sentinel string
	// Username and PasswordFile authenticate; the file, named relative to the configuration's
	// folder, is read for every connection. Default none.
	Username     string
	PasswordFile string
	// TLS secures the connections; nil means plain text. Default nil.
	TLS *StoreTLS
	// Prefix precedes every key. Default "stateful-route:".
	Prefix string
	// Lease is how long a replica that does not hear of the store answers what it knows. Default 3s.
	Lease time.Duration
	// Timeout is how long a request waits for the store. Default 150ms.
	Timeout time.Duration
}

// StoreTLS names the files of a connection's TLS, relative to the configuration's folder.
// They are read for every connection.
type StoreTLS struct {
	// CA has the certificates that sign the server's; empty means those of the system.
	CA string
	// Cert and Key are the client's own; empty means none.
	Cert, Key string
}

// MemoryStore keeps bindings in memory and, with a Path, in a file as well.
type MemoryStore struct {
	// Path is the file, named in the configuration relative to its own folder;
	// empty means bindings end with the process.
	Path string
	// Sync is how often what was written to the file is forced to the disk; 0
	// means that each batch of changes is, and waits for it.
	Sync time.Duration
}
