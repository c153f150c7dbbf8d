package config

import (
	"strings"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
)

type rawIssue struct {
	Cookie      string    `yaml:"cookie"`
	TTL         *duration `yaml:"ttl"`
	SameSite    *string   `yaml:"same_site"`
	Domain      *string   `yaml:"domain"`
	Path        *string   `yaml:"path"`
	Partitioned bool      `yaml:"partitioned"`
	Renew       *bool     `yaml:"renew"`
}

// policy is the cookie without what depends on the service's match; nil for none.
func (raw *rawIssue) policy(doc *document, at path) *statefulroute.IssuedCookie {
	if raw == nil {
		return nil
	}
	c := &statefulroute.IssuedCookie{
		Name:        raw.Cookie,
		TTL:         orDuration(raw.TTL, 0),
		SameSite:    statefulroute.SameSite(or(raw.SameSite, string(statefulroute.Lax))),
		Domain:      strings.ToLower(or(raw.Domain, "")),
		Partitioned: raw.Partitioned,
	}
	c.Renew = or(raw.Renew, c.TTL > 0)
	sessionkey.Open(issuedSource(c)[0], func(_, reason string) { doc.Refuse(at.With("cookie"), "%s", reason) })
	if c.TTL < 0 || c.TTL > 0 && c.TTL < time.Second {
		doc.Refuse(at.With("ttl"), "must be 0, for as long as the browser runs, or at least 1s")
	}
	if c.Renew && c.TTL == 0 {
		doc.Refuse(at.With("renew"), "needs a ttl: without one the cookie ends with the browser")
	}
	switch c.SameSite {
	case statefulroute.Lax, statefulroute.Strict, statefulroute.None:
	default:
		doc.Refuse(at.With("same_site"), "%q must be lax, strict or none", c.SameSite)
	}
	return c
}

// checkMatch settles where the cookie is sent, and refuses one that its own service
// would not get back.
func (raw *rawIssue) checkMatch(doc *document, at path, svc *statefulroute.Service) {
	c := svc.Session.Issue
	if c == nil {
		return
	}
	c.Path = or(raw.Path, svc.Prefix)
	checkCookiePath(doc, at.With("path"), c.Path, svc.Prefix)
	if c.Domain != "" {
		checkCookieDomain(doc, at.With("domain"), c.Domain, svc.Hosts)
	}
	if strings.HasPrefix(c.Name, "__Host-") && (c.Path != "/" || c.Domain != "") {
		doc.Refuse(at.With("cookie"), "%q needs the path / and no domain: browsers refuse it otherwise", c.Name)
	}
	for i, learned := range svc.Session.Learn {
		if issuedSource(c)[0].Equal(learned) {
			doc.Refuse(at.With("cookie"), "%q is learned from pods as well, see session.learn[%d]: one would overwrite the other's", c.Name, i)
		}
	}
}

func checkCookiePath(doc *document, at path, cookie, prefix string) {
	bad := func(r rune) bool { return r < ' ' || r == ';' || r >= 0x7f }
	switch {
	case !strings.HasPrefix(cookie, "/") || strings.ContainsFunc(cookie, bad):
		doc.Refuse(at, "%q must begin with / and hold no ;, control character or byte that is not ASCII", cookie)
	case !pathCovers(cookie, prefix):
		doc.Refuse(at, "%q does not cover the service's prefix, %s: the cookie would not be sent to it", cookie, prefix)
	}
}

func checkCookieDomain(doc *document, at path, domain string, hosts []string) {
	if !hostName.MatchString(domain) || strings.Contains(domain, "*") {
		doc.Refuse(at, "%q is not a host name", domain)
		return
	}
	for _, host := range hosts {
		if !hostUnder(strings.TrimPrefix(host, "*."), domain) {
			doc.Refuse(at, "%q does not cover the service's host %s: browsers would refuse the cookie", domain, host)
		}
	}
}

// issuedApart refuses two services that issue cookies of one name to the same requests:
// when one takes its cookie back, the other's session would be lost.
func (d *document) issuedApart(services []statefulroute.Service) {
	for i := range services {
		for j := range services[:i] {
			a, b := &services[i], &services[j]
			if a.Session.Issue == nil || b.Session.Issue == nil || a.Session.Issue.Name != b.Session.Issue.Name || !meet(a, b) {
				continue
			}
			d.Refuse(path{"services", i, "session", "issue", "cookie"},
				"service %q issues %q as well, on the same hosts and paths: give it another name, or paths apart from each other's", b.Name, b.Session.Issue.Name)
		}
	}
}

// meet reports whether a client may send the cookies of both services with one request.
func meet(a, b *statefulroute.Service) bool {
	if !pathCovers(a.Session.Issue.Path, b.Session.Issue.Path) && !pathCovers(b.Session.Issue.Path, a.Session.Issue.Path) {
		return false
	}
	for _, x := range cookieHosts(a) {
		for _, y := range cookieHosts(b) {
			if hostsMeet(x, y) {
				return true
			}
		}
	}
	return false
}

// cookieHosts are the hosts to which a service's cookie is sent: *.HOST where it has a
// domain, else the patterns of the service's hosts. The same host of two patterns is
// the more specific service's alone.
func cookieHosts(svc *statefulroute.Service) []string {
	if d := svc.Session.Issue.Domain; d != "" {
		return []string{domainMark + d}
	}
	return svc.Hosts
}

// domainMark begins a host that stands for itself and for all under it.
const domainMark = "."

func hostsMeet(x, y string) bool {
	dx, isX := strings.CutPrefix(x, domainMark)
	dy, isY := strings.CutPrefix(y, domainMark)
	switch {
	case isX && isY:
		return hostUnder(dx, dy) || hostUnder(dy, dx)
	case isX:
		return patternReaches(y, dx)
	case isY:
		return patternReaches(x, dy)
	}
	return x == y
}

// patternReaches reports whether a pattern matches a host that is the domain or under it.
func patternReaches(pattern, domain string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*.")
	return pattern == "*" || hostUnder(suffix, domain) || wild && hostUnder(domain, suffix)
}

// hostUnder reports whether a host is the domain or a name under it.
func hostUnder(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// pathCovers reports whether a cookie of a path is sent with requests of another one
// (RFC 6265, 5.1.4).
func pathCovers(cookie, request string) bool {
	rest, ok := strings.CutPrefix(request, cookie)
	return ok && (rest == "" || strings.HasSuffix(cookie, "/") || rest[0] == '/')
}
