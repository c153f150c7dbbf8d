package config

import (
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Two issued cookies of one name meet where a client may send both with one request.
func TestIssuedCookiesThatMeet(t *testing.T) {
	service := func(path, domain string, hosts ...string) *statefulroute.Service {
		return &statefulroute.Service{Hosts: hosts, Session: statefulroute.SessionPolicy{
			Issue: &statefulroute.IssuedCookie{Name: "s", Path: path, Domain: domain}}}
	}
	for name, c := range map[string]struct {
		a, b *statefulroute.Service
		want bool
	}{
		"one host, one path":           {service("/", "", "a.x"), service("/", "", "b.x", "a.x"), true},
		"one path under the other":     {service("/", "", "*"), service("/app", "", "*"), true},
		"paths apart":                  {service("/app", "", "*"), service("/apple", "", "*"), false},
		"hosts apart":                  {service("/", "", "a.x"), service("/", "", "b.x"), false},
		"the more specific host wins":  {service("/", "", "*"), service("/", "", "a.x"), false},
		"a domain over the other host": {service("/", "x", "a.x"), service("/", "", "b.x"), true},
		"a domain under a wildcard":    {service("/", "a.x", "a.x"), service("/", "", "*.x"), true},
		"a domain under any host":      {service("/", "a.x", "a.x"), service("/", "", "*"), true},
		"a domain beside a wildcard":   {service("/", "a.x", "a.x"), service("/", "", "*.y"), false},
		"a domain and its suffix":      {service("/", "a.x", "a.x"), service("/", "", "aa.x"), false},
		"two domains":                  {service("/", "x", "a.x"), service("/", "b.x", "b.x"), true},
		"two domains apart":            {service("/", "a.x", "a.x"), service("/", "b.x", "b.x"), false},
	} {
		if meet(c.a, c.b) != c.want || meet(c.b, c.a) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
}
