package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Defaults of xds-server's configuration.
const (
	DefaultXDSListen      = "127.0.0.1:18000"
	DefaultXDSAdmin       = "127.0.0.1:18001"
	DefaultEnvoyListener  = "0.0.0.0:10000"
	DefaultExtprocListen  = "127.0.0.1:18080"
	DefaultExtprocAdmin   = "127.0.0.1:18081"
	defaultMessageTimeout = 200 * time.Millisecond
)

// mostMessageTimeout is the most that Envoy takes.
const mostMessageTimeout = time.Hour

// mostTrustedHops is more proxies than a request meets: beyond it a number is a
// mistake, which would trust clients.
const mostTrustedHops = 16

type rawXDSServer struct {
	Listen     *string      `yaml:"listen"`
	Admin      *string      `yaml:"admin"`
	AdminHosts []string     `yaml:"admin_hosts" is:"a list of host names|[admin.example.com]"`
	State      string       `yaml:"state"`
	Envoy      rawEnvoy     `yaml:"envoy"`
	Services   []rawService `yaml:"services" is:"a list of services|- {name: chat, pods: {file: pods.yaml}}"`
	Analyzer   rawAnalyzer  `yaml:"analyzer"`
	Limits     rawLimits    `yaml:"limits"`
	Insecure   bool         `yaml:"insecure"`
}

type rawEnvoy struct {
	Listener rawListeners     `yaml:"listener" is:"an address or a list of them|0.0.0.0:10000"`
	TLS      []rawCertificate `yaml:"tls" is:"a list of certificates|- {hosts: [chat.example.com], cert: chat.pem, key: chat.key}"`
	Extproc  struct {
		Address         oneOrMore `yaml:"address" is:"an address or a list of them|127.0.0.1:18080"`
		MessageTimeout  *duration `yaml:"message_timeout"`
		SessionAffinity bool      `yaml:"session_affinity"`
	} `yaml:"extproc"`
	TrustedHops  uint32      `yaml:"trusted_hops"`
	HTTP10       bool        `yaml:"http10"`
	DebugHeaders bool        `yaml:"debug_headers"`
	Tracing      *rawTracing `yaml:"tracing"`
}

// LoadXDSServer reads and checks xds-server's configuration. It reports every
// fault it finds, one a line.
func LoadXDSServer(file string, opts ...Option) (*XDSServer, error) {
	var raw rawXDSServer
	doc, err := decodeFile(file, &raw, opts)
	if err != nil {
		return nil, err
	}
	return raw.check(doc)
}

func (raw *rawXDSServer) check(doc *document) (*XDSServer, error) {
	cfg := &XDSServer{
		Listen:     or(raw.Listen, DefaultXDSListen),
		Admin:      or(raw.Admin, DefaultXDSAdmin),
		AdminHosts: raw.AdminHosts,
		State:      doc.Beside(raw.State),
		Envoy:      raw.Envoy.check(doc, path{"envoy"}),
		Analyzer:   raw.Analyzer.check(doc, path{"analyzer"}),
		Limits:     raw.Limits.check(doc, path{"limits"}),
		Insecure:   raw.Insecure,
	}
	doc.listenAddress(path{"listen"}, cfg.Listen)
	doc.listenAddress(path{"admin"}, cfg.Admin)
	doc.hostNames(path{"admin_hosts"}, cfg.AdminHosts)
	if len(raw.Services) == 0 {
		doc.Refuse(path{"services"}, "at least one service is needed")
	}
	for i := range raw.Services {
		cfg.Services = append(cfg.Services, raw.Services[i].check(doc, path{"services", i}))
	}
	doc.uniqueServices(cfg.Services)
	doc.issuedApart(cfg.Services)
	doc.keysStayHere(cfg)
	if err := doc.refused(); err != nil {
		return nil, err
	}
	return cfg, nil
}

func (raw *rawEnvoy) check(doc *document, at path) Envoy {
	e := Envoy{
		TLS: checkCertificates(doc, at.With("tls"), raw.TLS),
		Extproc: Extprocs{
			Addresses:      raw.Extproc.Address,
			MessageTimeout: orDuration(raw.Extproc.MessageTimeout, defaultMessageTimeout),

			SessionAffinity: raw.Extproc.SessionAffinity,
		},
		TrustedHops:  raw.TrustedHops,
		HTTP10:       raw.HTTP10,
		DebugHeaders: raw.DebugHeaders,
		Tracing:      raw.Tracing.check(doc, at.With("tracing")),
	}
	e.Listeners = raw.Listener.check(doc, at, len(e.TLS) > 0)
	if e.TrustedHops > mostTrustedHops {
		doc.Refuse(at.With("trusted_hops"), "%d must be 0 to %d, the number of proxies before Envoy", e.TrustedHops, mostTrustedHops)
	}
	if len(e.Extproc.Addresses) == 0 {
		e.Extproc.Addresses = []string{DefaultExtprocListen}
	}
	for i, a := range e.Extproc.Addresses {
		where := at.With("extproc", "address", i)
		doc.grpcAddress(where, a)
		if slices.Contains(e.Extproc.Addresses[:i], a) {
			doc.Refuse(where, "%q is listed twice", a)
		}
	}
	if e.Extproc.MessageTimeout < time.Millisecond || e.Extproc.MessageTimeout > mostMessageTimeout {
		doc.Refuse(at.With("extproc", "message_timeout"), "must be 1ms to 1h")
	}
	return e
}

// overlap reports whether a takes all that comes to b: IPv6's [::] takes IPv4, too.
func overlap(a, b string) bool {
	one, errOne := netip.ParseAddrPort(a)
	two, errTwo := netip.ParseAddrPort(b)
	if errOne != nil || errTwo != nil || one.Port() != two.Port() || one.Port() == 0 {
		return false
	}
	return one == two || one.Addr() == netip.IPv6Unspecified() || one.Addr() == netip.IPv4Unspecified() && two.Addr().Unmap().Is4()
}

// uniqueServices refuses two services of one name, and two that would match
// the same requests.
func (d *document) uniqueServices(services []statefulroute.Service) {
	names, matches := map[string]int{}, map[string]string{}
	for i, svc := range services {
		at := path{"services", i}
		if first, ok := names[svc.Name]; ok {
			d.Refuse(at.With("name"), "service %q is already defined at services[%d]", svc.Name, first)
			continue
		}
		names[svc.Name] = i
		for _, host := range svc.Hosts {
			m := fmt.Sprintf("host %s, prefix %s", host, svc.Prefix)
			if other, ok := matches[m]; ok {
				d.Refuse(at.With("match"), "%s is already taken by service %q", m, other)
			}
			matches[m] = svc.Name
		}
	}
}
