// Package testtls makes credentials for tests, of an authority that lives as long as
// the test.
package testtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
)

// Authority issues certificates that only those who know it trust.
type Authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

// NewAuthority returns one that nobody trusts yet.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, pool: x509.NewCertPool()}
	a.cert, a.key = a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority of a test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	a.pool.AddCert(a.cert)
	return a
}

// Server are the credentials of a server on 127.0.0.1 that wants its clients to have
// a certificate of the authority, too.
func (a *Authority) Server() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{a.certificate()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool, MinVersion: tls.VersionTLS13,
	})
}

// Client are the credentials of a client that trusts the authority alone.
func (a *Authority) Client() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{a.certificate()}, RootCAs: a.pool, MinVersion: tls.VersionTLS13,
	})
}

func (a *Authority) certificate() tls.Certificate {
	cert, key := a.issue(Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}.template(), nil)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// Leaf says what a certificate is for.
type Leaf struct {
	Hosts []string
	IPs   []net.IP
	// From and To bound its life; zero means an hour ago, and in an hour.
	From, To time.Time
	// Key is the private key; nil means a new one of the curve P-256.
	Key crypto.Signer
}

func (l Leaf) template() *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: "of a test"}, DNSNames: l.Hosts, IPAddresses: l.IPs, NotBefore: l.From, NotAfter: l.To,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// Issue returns a certificate and its private key, in PEM.
func (a *Authority) Issue(l Leaf) (cert, key []byte) {
	a.t.Helper()
	issued, signer := a.issue(l.template(), l.Key)
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return asPEM("CERTIFICATE", issued.Raw), asPEM("PRIVATE KEY", der)
}

// Pair is Issue as crypto/tls has it.
func (a *Authority) Pair(l Leaf) tls.Certificate {
	a.t.Helper()
	pair, err := tls.X509KeyPair(a.Issue(l))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// PEM is the authority's own certificate.
func (a *Authority) PEM() []byte { return asPEM("CERTIFICATE", a.cert.Raw) }

// Pool trusts the authority alone.
func (a *Authority) Pool() *x509.CertPool { return a.pool }

// Write replaces NAME.pem and NAME.key in a folder, one after the other, each in one
// step, by a certificate and its key.
func (a *Authority) Write(dir, name string, l Leaf) (certFile, keyFile string) {
	a.t.Helper()
	cert, key := a.Issue(l)
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	a.replace(certFile, cert)
	a.replace(keyFile, key)
	return certFile, keyFile
}

// WriteCA is Write of the authority's own certificate, in NAME.pem.
func (a *Authority) WriteCA(dir, name string) (file string) {
	a.t.Helper()
	file = filepath.Join(dir, name+".pem")
	a.replace(file, a.PEM())
	return file
}

func (a *Authority) replace(file string, content []byte) {
	a.t.Helper()
	if err := errors.Join(os.WriteFile(file+".new", content, 0o600), os.Rename(file+".new", file)); err != nil {
		a.t.Fatal(err)
	}
}

func asPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// issue signs a certificate; the authority's own, which comes first, by itself.
func (a *Authority) issue(template *x509.Certificate, key crypto.Signer) (*x509.Certificate, crypto.Signer) {
	a.t.Helper()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			a.t.Fatal(err)
		}
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}
