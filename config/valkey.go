package config

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

type rawValkey struct {
	Addresses    []string     `yaml:"addresses" is:"a list of addresses|[127.0.0.1:6379]"`
	Sentinel     *string      `yaml:"sentinel"`
	Username     string       `yaml:"username"`
	PasswordFile *string      `yaml:"password_file"`
	TLS          *rawStoreTLS `yaml:"tls"`
	Prefix       *string      `yaml:"prefix"`
	Lease        *duration    `yaml:"lease"`
	Timeout      *duration    `yaml:"timeout"`
}

type rawStoreTLS struct {
	CA   *string `yaml:"ca"`
	Cert *string `yaml:"cert"`
	Key  *string `yaml:"key"`
}

// The bounds of a lease. A shorter one runs out when the machine is busy, and for the time
// of a longer one nobody can move what a dead replica knew.
const (
	leastLease = 100 * time.Millisecond
	mostLease  = 5 * time.Minute
)

func (raw *rawValkey) check(doc *document, at path) *ValkeyStore {
	v := &ValkeyStore{
		Addresses: raw.Addresses, Username: raw.Username,
		Prefix: or(raw.Prefix, "stateful-route:"), Lease: orDuration(raw.Lease, 3*time.Second), Timeout: orDuration(raw.Timeout, 150*time.Millisecond),
	}
	v.checkAddresses(doc, at.With("addresses"))
	if raw.Sentinel != nil {
		if v.Sentinel = *raw.Sentinel; v.Sentinel == "" {
			doc.Refuse(at.With("sentinel"), "is empty: give the name by which the sentinels know the server, or leave it out")
		}
	}
	v.PasswordFile = raw.file(doc, at.With("password_file"), raw.PasswordFile)
	if v.Username != "" && v.PasswordFile == "" {
		doc.Refuse(at.With("username"), "needs password_file")
	}
	if raw.TLS != nil {
		v.TLS = raw.tls(doc, at.With("tls"))
	}
	if strings.ContainsAny(v.Prefix, "{}") {
		doc.Refuse(at.With("prefix"), "%q has braces, which mark the part by which a cluster places keys: all keys of a prefix lie on one node", v.Prefix)
	}
	if v.Lease < leastLease || v.Lease > mostLease {
		doc.Refuse(at.With("lease"), "must be from %s to %s", leastLease, mostLease)
	}
	if v.Timeout < time.Millisecond || v.Timeout > time.Hour {
		doc.Refuse(at.With("timeout"), "must be from 1ms to 1h")
	}
	return v
}

func (v *ValkeyStore) checkAddresses(doc *document, at path) {
	if len(v.Addresses) == 0 {
		doc.Refuse(at, "names no server: give at least one HOST:PORT")
	}
	for i, address := range v.Addresses {
		host, port, err := net.SplitHostPort(address)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			doc.Refuse(at.With(i), "%q is not HOST:PORT", address)
		}
	}
}

func (raw *rawValkey) tls(doc *document, at path) *StoreTLS {
	t := &StoreTLS{
		CA:   raw.file(doc, at.With("ca"), raw.TLS.CA),
		Cert: raw.file(doc, at.With("cert"), raw.TLS.Cert),
		Key:  raw.file(doc, at.With("key"), raw.TLS.Key),
	}
	if (t.Cert == "") != (t.Key == "") {
		doc.Refuse(at, "cert and key go together")
	}
	return t
}

// file is a file that can be read at present; empty where none is named.
func (raw *rawValkey) file(doc *document, at path, name *string) string {
	if name == nil {
		return ""
	}
	file := doc.Beside(*name)
	if file == "" {
		doc.Refuse(at, "is empty: name a file, or leave it out")
		return ""
	}
	if _, err := os.ReadFile(file); err != nil {
		doc.Refuse(at, "%v", err)
	}
	return file
}
