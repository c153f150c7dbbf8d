package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"

	"google.golang.org/grpc/credentials"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/secret"
)

// What is spoken inside of TLS, by its registered names.
const (
	alpnHTTP1 = "http/1.1"
	alpnHTTP2 = "h2"
)

// clientOf is how pods are spoken to by TLS, as Envoy does it; nil: they are not.
func clientOf(svc statefulroute.Service, secrets map[string]*secret.Secret) *tls.Config {
	if svc.TLS == nil {
		return nil
	}
	c := &tls.Config{ServerName: svc.TLS.ServerName, MinVersion: tls.VersionTLS12, NextProtos: alpn(svc.Protocol)}
	c.RootCAs = x509.NewCertPool() // where there is none, Go would take the system's
	if authorities := secrets[secret.Authorities(*svc.TLS).Name()]; authorities != nil {
		c.RootCAs = authorities.Pool()
	}
	if client, ok := secret.Client(*svc.TLS); ok {
		if pair := secrets[client.Name()]; pair != nil {
			c.Certificates = []tls.Certificate{pair.Pair()}
		}
	}
	return c
}

func alpn(p statefulroute.Protocol) []string {
	switch p {
	case statefulroute.HTTP2, statefulroute.GRPC:
		return []string{alpnHTTP2}
	case statefulroute.Auto:
		return []string{alpnHTTP2, alpnHTTP1}
	default:
		return []string{alpnHTTP1}
	}
}

// apart lets the host that is asked for differ from the name in the certificate: gRPC
// by itself takes them for one.
type apart struct {
	credentials.TransportCredentials

	name string // in the certificate
}

// ClientHandshake implements credentials.TransportCredentials.
func (a apart) ClientHandshake(ctx context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return a.TransportCredentials.ClientHandshake(ctx, a.name, conn)
}

// Info implements credentials.TransportCredentials.
func (a apart) Info() credentials.ProtocolInfo {
	info := a.TransportCredentials.Info()
	info.ServerName = "" //nolint:staticcheck // deprecated, and what gRPC compares
	return info
}

// Clone implements credentials.TransportCredentials.
func (a apart) Clone() credentials.TransportCredentials {
	return apart{a.TransportCredentials.Clone(), a.name}
}
