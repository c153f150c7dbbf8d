package envoy

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"text/template"
)

//go:embed bootstrap.yaml.tmpl
var bootstrapText string

var bootstrapTemplate = template.Must(template.New("bootstrap.yaml").Parse(bootstrapText))

// BootstrapOptions is what differs between two Envoys that xds-server leads.
type BootstrapOptions struct {
	// NodeID names this Envoy to xds-server and its operator; any id will do,
	// but each Envoy should have its own. Default "envoy-0".
	NodeID string
	// XDS is xds-server's address, HOST:PORT. Default "127.0.0.1:18000".
	XDS string
	// Admin is the address of Envoy's own admin interface, IP:PORT. Default
	// "127.0.0.1:9901"; keep it on loopback, it can stop Envoy.
	Admin string
	// StateOfTheWorld asks for the older xDS variant instead of delta.
	StateOfTheWorld bool
	// Module and Table are libstateful_route.so and extproc's fast_path.table, as absolute
	// paths that this Envoy sees. Default none: every request of a session asks extproc.
	Module, Table string
	// MaxConnections bounds the connections from clients. Default 50000.
	MaxConnections int
}

// Bootstrap returns the bootstrap file for an Envoy led by xds-server. With no
// options it is the committed bootstrap.yaml.
func Bootstrap(o BootstrapOptions) ([]byte, error) {
	v, err := o.view()
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	var b bytes.Buffer
	if err := bootstrapTemplate.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return b.Bytes(), nil
}

// bootstrapView is what the template prints.
type bootstrapView struct {
	NodeID, APIType, ClusterType string
	XDSHost, AdminHost           string
	XDSPort, AdminPort           uint16
	MaxConnections               int
	Module, Table                string // quoted; empty: none
}

// A node id is printed into YAML, so it is kept to characters that need no quotes.
var nodeID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./-]*$`)

func (o BootstrapOptions) view() (bootstrapView, error) {
	v := bootstrapView{NodeID: o.NodeID, APIType: "DELTA_GRPC", ClusterType: "STRICT_DNS", MaxConnections: o.MaxConnections}
	if v.NodeID == "" {
		v.NodeID = "envoy-0"
	}
	if !nodeID.MatchString(v.NodeID) {
		return v, fmt.Errorf("node id %q: use letters, digits, '_', '.', '/' and '-'", v.NodeID)
	}
	if err := v.addModule(o); err != nil {
		return v, err
	}
	if o.StateOfTheWorld {
		v.APIType = "GRPC"
	}
	if v.MaxConnections == 0 {
		v.MaxConnections = 50_000
	}
	if v.MaxConnections < 0 {
		return v, errors.New("max connections is negative")
	}
	var err error
	if v.XDSHost, v.XDSPort, err = hostPort(o.XDS, "127.0.0.1:18000"); err != nil {
		return v, fmt.Errorf("xds address: %w", err)
	}
	if _, err := netip.ParseAddr(v.XDSHost); err == nil {
		v.ClusterType = "STATIC"
	}
	if v.AdminHost, v.AdminPort, err = hostPort(o.Admin, "127.0.0.1:9901"); err != nil {
		return v, fmt.Errorf("admin address: %w", err)
	}
	if _, err := netip.ParseAddr(v.AdminHost); err != nil {
		return v, fmt.Errorf("admin address: %w", err)
	}
	return v, nil
}

// addModule quotes the paths as JSON does, which is YAML, too.
func (v *bootstrapView) addModule(o BootstrapOptions) error {
	if o.Module == "" && o.Table == "" {
		return nil
	}
	for _, file := range []struct {
		path string
		into *string
	}{{o.Module, &v.Module}, {o.Table, &v.Table}} {
		if !filepath.IsAbs(file.path) {
			return fmt.Errorf("module %q and table %q: both must be absolute paths", o.Module, o.Table)
		}
		quoted, err := json.Marshal(file.path)
		if err != nil {
			return err
		}
		*file.into = string(quoted)
	}
	return nil
}

// A host is printed into YAML between quotes; names and IP addresses have no
// character that would end them.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

func hostPort(address, byDefault string) (string, uint16, error) {
	if address == "" {
		address = byDefault
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	if !hostName.MatchString(host) {
		return "", 0, fmt.Errorf("%q is no host", host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port: %w", err)
	}
	return host, uint16(n), nil
}
