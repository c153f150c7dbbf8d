// Package secret reads the certificates and private keys that a configuration names,
// says what is wrong with them, and follows their files. A new file that is bad
// changes nothing: what was good before stays, and it is told.
package secret

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Ref is what a configuration names: a file of authorities, or a certificate and its
// key. Two of one name are the same secret.
type Ref struct {
	// Authorities tells a file of authorities, CA, from a certificate; an empty CA
	// means those of this machine.
	Authorities bool
	CA          string
	Cert, Key   string
	// Hosts are those that Cert must be for, as in the configuration.
	Hosts []string
}

// Authorities refers to those that a service's pods must be certified by.
func Authorities(t statefulroute.PodTLS) Ref { return Ref{Authorities: true, CA: t.CA} }

// Client refers to what is shown to a service's pods; ok is false where nothing is.
func Client(t statefulroute.PodTLS) (r Ref, ok bool) {
	return Ref{Cert: t.Cert, Key: t.Key}, t.Cert != ""
}

// Server refers to what Envoy shows to clients.
func Server(c statefulroute.Certificate) Ref { return Ref{Cert: c.Cert, Key: c.Key, Hosts: c.Hosts} }

// Name is the secret's name in Envoy. It holds the files' and not their content: a
// renewed certificate has the name that it had.
func (r Ref) Name() string {
	switch {
	case !r.Authorities:
		return "certificate " + r.Cert + " " + r.Key
	case r.CA == "":
		return "authorities of the system"
	default:
		return "authorities " + r.CA
	}
}

// Refs lists what a configuration names, each name once, in the order of the names.
func Refs(certificates []statefulroute.Certificate, services []statefulroute.Service) []Ref {
	var refs []Ref
	for _, c := range certificates {
		refs = append(refs, Server(c))
	}
	for _, svc := range services {
		if svc.TLS == nil {
			continue
		}
		refs = append(refs, Authorities(*svc.TLS))
		if client, ok := Client(*svc.TLS); ok {
			refs = append(refs, client)
		}
	}
	slices.SortStableFunc(refs, func(a, b Ref) int { return strings.Compare(a.Name(), b.Name()) })
	var once []Ref
	for _, r := range refs {
		if last := len(once) - 1; last >= 0 && once[last].Name() == r.Name() {
			once[last].Hosts = slices.Concat(once[last].Hosts, r.Hosts)
			continue
		}
		once = append(once, r)
	}
	return once
}

// files are those that the secret is read from.
func (r Ref) files() []string {
	switch {
	case !r.Authorities:
		return slices.Compact([]string{r.Cert, r.Key})
	case r.CA == "":
		return nil // the system's change with the system
	default:
		return []string{r.CA}
	}
}

// Secret is what was read. It is never changed, and says nothing of its content when
// it is printed.
type Secret struct {
	certificates []byte // PEM: the authorities, or the certificate and its chain
	key          []byte // PEM; nil: authorities
	pool         *x509.CertPool
	pair         tls.Certificate
	leaf         *x509.Certificate // nil: authorities
	notBefore    time.Time
	notAfter     time.Time
}

// Certificates are the authorities, or the certificate with its chain, in PEM.
func (s *Secret) Certificates() []byte { return s.certificates }

// Key is the private key in PEM; nil where there is none, which is so of authorities.
func (s *Secret) Key() []byte { return s.key }

// Pool are the authorities.
func (s *Secret) Pool() *x509.CertPool { return s.pool }

// Pair is the certificate with its key.
func (s *Secret) Pair() tls.Certificate { return s.pair }

// Expires is when the certificate, or one of its chain, ends first. Of authorities it
// is when the last one does: until then some peers are trusted. It is zero for those
// of the system.
func (s *Secret) Expires() time.Time { return s.notAfter }

// String tells no secrets.
func (s *Secret) String() string { return "a secret" }

// GoString tells no secrets either.
func (s *Secret) GoString() string { return s.String() }

// Format keeps each verb of fmt from looking inside.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, s.String()) }

// valid reports whether the secret can be used at a time.
func (s *Secret) valid(now time.Time) bool {
	return s.notAfter.IsZero() || !now.Before(s.notBefore) && now.Before(s.notAfter)
}

// covers says for which of the hosts the certificate is not; empty: it is for all.
func (s *Secret) covers(hosts []string) (not string) {
	for _, host := range hosts {
		if strings.HasPrefix(host, "*") {
			same := func(name string) bool { return strings.EqualFold(name, host) }
			if !slices.ContainsFunc(s.leaf.DNSNames, same) {
				return host
			}
		} else if s.leaf.VerifyHostname(host) != nil {
			return host
		}
	}
	return ""
}

// warnEarliest and warnPart say when the end of a certificate is near: renewal, which is
// usual when a third of a certificate's life is left, is overdue.
const (
	warnEarliest = 14 * 24 * time.Hour
	warnPart     = 6
)

// Warning says what is about to be wrong with a secret, or is, without being a reason to
// refuse it: time makes every certificate so, and nothing else may stand still for it.
func (s *Secret) Warning(now time.Time) string {
	switch left := s.notAfter.Sub(now); {
	case s.notAfter.IsZero():
		return ""
	case now.Before(s.notBefore):
		return "is not valid before " + s.notBefore.UTC().Format(time.RFC3339)
	case left <= 0:
		return "expired at " + s.notAfter.UTC().Format(time.RFC3339)
	case left < min(warnEarliest, s.notAfter.Sub(s.notBefore)/warnPart):
		return "expires at " + s.notAfter.UTC().Format(time.RFC3339)
	}
	return ""
}
