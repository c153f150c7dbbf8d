package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
	"github.com/stateful-route/stateful-route/xds/discovery"
	"github.com/stateful-route/stateful-route/xds/secret"
)

// rawListeners is an address or a list of them, each with or without a word on TLS.
type rawListeners []rawListener

// rawListener is an address, or a group that says more of it.
type rawListener struct {
	Address string `yaml:"address"`
	TLS     *bool  `yaml:"tls"`
}

// TakesText implements strictyaml.TextTaker.
func (*rawListeners) TakesText() {}

// TakesText implements strictyaml.TextTaker.
func (*rawListener) TakesText() {}

var _, _ strictyaml.TextTaker = (*rawListeners)(nil), (*rawListener)(nil)

// UnmarshalYAML takes a scalar as a list of one.
func (l *rawListeners) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*l = rawListeners{{Address: node.Value}}
		return nil
	}
	return node.Decode((*[]rawListener)(l))
}

// UnmarshalYAML takes a scalar as an address.
func (l *rawListener) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*l = rawListener{Address: node.Value}
		return nil
	}
	type fields rawListener
	return node.Decode((*fields)(l))
}

// check has every listener speak TLS that does not say otherwise, if there are
// certificates: who names some wants them used.
func (l rawListeners) check(doc *document, at path, certified bool) []Listener {
	if len(l) == 0 {
		l = rawListeners{{Address: DefaultEnvoyListener}}
	}
	var out []Listener
	used := false
	for i, raw := range l {
		where := at.With("listener", i)
		next := Listener{Address: raw.Address, TLS: or(raw.TLS, certified)}
		used = used || next.TLS
		doc.listenAddress(where, next.Address)
		for _, other := range out {
			if other.Address == next.Address || overlap(next.Address, other.Address) || overlap(other.Address, next.Address) {
				doc.Refuse(where, "%s and %s are the same for some clients", other.Address, next.Address)
			}
		}
		if next.TLS && !certified {
			doc.Refuse(where.With("tls"), "is true, but there is no certificate: name one in envoy.tls")
		}
		out = append(out, next)
	}
	if certified && !used {
		doc.Refuse(at.With("tls"), "is not used: every listener says tls: false")
	}
	return out
}

type rawCertificate struct {
	Hosts []string `yaml:"hosts" is:"a list of host names|[chat.example.com]"`
	Cert  string   `yaml:"cert"`
	Key   string   `yaml:"key"`
}

func checkCertificates(doc *document, at path, raw []rawCertificate) []statefulroute.Certificate {
	var out []statefulroute.Certificate
	taken, rest := map[string]int{}, -1
	for i, r := range raw {
		where := at.With(i)
		c := statefulroute.Certificate{Cert: doc.secretFile(where.With("cert"), r.Cert), Key: doc.secretFile(where.With("key"), r.Key)}
		if len(r.Hosts) == 0 && rest >= 0 {
			doc.Refuse(where.With("hosts"), "are needed: envoy.tls[%d] has none either, and is for all other hosts", rest)
		}
		if len(r.Hosts) == 0 {
			rest = i
		}
		for n, h := range r.Hosts {
			host := strings.TrimSuffix(strings.ToLower(h), ".")
			first, doubled := taken[host]
			switch {
			case host == "*":
				doc.Refuse(where.With("hosts", n), "* is not needed: a certificate without hosts is for all that no other is for")
			case !hostName.MatchString(host):
				doc.Refuse(where.With("hosts", n), "%q is not a host name or *.SUFFIX", h)
			case doubled:
				doc.Refuse(where.With("hosts", n), "%q is already taken by envoy.tls[%d]", h, first)
			default:
				taken[host] = i
				c.Hosts = append(c.Hosts, host)
			}
		}
		if r.Cert != "" && r.Key != "" {
			doc.readable(where, secret.Server(c))
		}
		out = append(out, c)
	}
	return out
}

type rawPodTLS struct {
	CA   string `yaml:"ca"`
	SNI  string `yaml:"sni"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// check returns nil where no TLS is spoken.
func (raw *rawPodTLS) check(doc *document, at path, svc *statefulroute.Service) *statefulroute.PodTLS {
	if raw == nil {
		return nil
	}
	t := &statefulroute.PodTLS{ServerName: strings.ToLower(raw.SNI)}
	if t.ServerName == "" {
		t.ServerName = nameOfPods(svc)
	}
	if !serverName(t.ServerName) {
		doc.Refuse(at.With("sni"), "%s", needServerName(t.ServerName))
	}
	if raw.CA != "" {
		t.CA = doc.secretFile(at.With("ca"), raw.CA)
	}
	doc.readable(at, secret.Authorities(*t))
	switch {
	case raw.Cert == "" && raw.Key == "":
		return t
	case raw.Cert == "" || raw.Key == "":
		doc.Refuse(at, "cert and key are needed together: the certificate that pods are shown, and its private key")
		return t
	}
	t.Cert, t.Key = doc.secretFile(at.With("cert"), raw.Cert), doc.secretFile(at.With("key"), raw.Key)
	client, _ := secret.Client(*t)
	doc.readable(at, client)
	return t
}

// nameOfPods is the name that a service's pods have in common, if the configuration tells
// one: that which their health is asked by, or which they are found by.
func nameOfPods(svc *statefulroute.Service) string {
	if svc.Health != nil {
		if host, _, _ := strings.Cut(strings.ToLower(svc.Health.Host), ":"); serverName(host) {
			return host
		}
	}
	if dns, ok := svc.Pods.Discovery.(*discovery.DNS); ok {
		return strings.TrimSuffix(strings.ToLower(dns.Host), ".")
	}
	return ""
}

// serverName reports whether a certificate can be for the name, and SNI carry it.
func serverName(name string) bool {
	_, err := netip.ParseAddr(name)
	return err != nil && len(name) <= mostServerName && hostName.MatchString(name) && !strings.Contains(name, "*")
}

// mostServerName is the most that DNS, and Envoy, take.
const mostServerName = 253

func needServerName(name string) string {
	if name == "" {
		return "is needed: the DNS name that the pods' certificates are for, without which any certificate of the authority would do"
	}
	return `"` + name + `" is not a DNS name: certificates of pods are checked by one that they have in common`
}

// mostFileName keeps names of secrets, which hold two, below what xDS takes.
const mostFileName = 400

// secretFile resolves a file of certificates or keys.
func (d *document) secretFile(at path, file string) string {
	file = d.Beside(file)
	switch {
	case file == "":
		d.Refuse(at, "is needed: a PEM file")
	case len(file) > mostFileName || strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f }):
		d.Refuse(at, "needs a path of at most %d bytes, without control characters", mostFileName)
	}
	return file
}

// readable refuses files that cannot be used, unless an earlier version of them is. They
// are read once: the authorities of this machine take milliseconds, and every service may
// name them.
func (d *document) readable(at path, r secret.Ref) {
	same := fmt.Sprintf("%#v", r)
	fault, read := d.secrets[same]
	if !read {
		_, fault = r.Read()
		d.secrets[same] = fault
	}
	if fault == nil || d.kept(r) {
		return
	}
	d.Refuse(at.With(fault.Field), "%v", fault)
	if fault.File != "" && !slices.Contains(d.badFiles, fault.File) {
		d.badFiles = append(d.badFiles, fault.File)
	}
}

// keysStayHere refuses to hand private keys out in plain text to other machines: whoever
// reaches the port is given those that he names.
func (d *document) keysStayHere(cfg *XDSServer) {
	at, err := netip.ParseAddrPort(cfg.Listen)
	if err != nil || at.Addr().IsLoopback() || cfg.Insecure {
		return
	}
	for _, r := range cfg.Secrets() {
		if r.Key != "" {
			d.Refuse(path{"listen"}, "%s is not on loopback, and the private keys that Envoys are given would travel in plain text, to whoever asks: "+
				"listen on loopback, or say insecure: true where nobody else is on the network", cfg.Listen)
			return
		}
	}
}
