package config

import (
	"net/netip"
	"regexp"
	"strings"
)

const unixPrefix = "unix:"

// listenAddress checks an IP:PORT a process of ours, or Envoy, binds or dials.
func (d *document) listenAddress(at path, value string) {
	if _, err := netip.ParseAddrPort(value); err != nil {
		d.Refuse(at, "%q is not an IP:PORT such as 127.0.0.1:18000", value)
	}
}

// grpcAddress is listenAddress, or unix:PATH.
func (d *document) grpcAddress(at path, value string) {
	if file, ok := strings.CutPrefix(value, unixPrefix); ok {
		if file == "" || len(file) > 100 || strings.ContainsRune(file, 0) {
			d.Refuse(at, "unix: needs a path of 1 to 100 bytes, none of them zero")
		}
		return
	}
	d.listenAddress(at, value)
}

// hostNames refuses what is not the full name of a host: a port, a wildcard.
func (d *document) hostNames(at path, names []string) {
	for i, name := range names {
		if lower := strings.ToLower(name); !hostName.MatchString(lower) || strings.Contains(lower, "*") {
			d.Refuse(at.With(i), "%q is not a host name such as admin.example.com", name)
		}
	}
}

var (
	serviceName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	probedHost  = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)
	hostName    = regexp.MustCompile(`^(\*|(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*)$`)
)
