package secret

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Fault is why files cannot be used.
type Fault struct {
	// Field is which of a configuration's fields is wrong: ca, cert, key or hosts.
	Field string
	// File is the file that is to be mended; empty where there is none.
	File string
	Err  error
}

func (f *Fault) Error() string { return f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }

func fault(field, file, format string, args ...any) *Fault {
	return &Fault{Field: field, File: file, Err: fmt.Errorf("%s "+format, append([]any{file}, args...)...)}
}

// Read reads what the reference names and checks all that Envoy would refuse, or serve
// in vain. Time is no reason, see Secret.Warning.
func (r Ref) Read() (*Secret, *Fault) {
	switch {
	case !r.Authorities:
		return readPair(r.Cert, r.Key, r.Hosts)
	case r.CA == "":
		return readSystem()
	default:
		return readAuthorities(r.CA)
	}
}

// The types of PEM blocks.
const (
	blockCertificate = "CERTIFICATE"
	blockRevoked     = "X509 CRL"
	blockKey         = "PRIVATE KEY" // or ending so
	blockParameters  = "EC PARAMETERS"
)

// mostBytes is more than the authorities of the web take.
const mostBytes = 1 << 20

// readBlocks returns a file's PEM blocks. Text between them is allowed, a block that
// cannot be read is not: it would be passed over without a word.
func readBlocks(field, file string) ([]*pem.Block, *Fault) {
	raw, err := readBounded(file)
	if err != nil {
		return nil, &Fault{Field: field, File: file, Err: fmt.Errorf("cannot be read: %w", err)}
	}
	var blocks []*pem.Block
	for rest := raw; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	begun := bytes.Count(raw, []byte("-----BEGIN "))
	switch {
	case begun == 0:
		return nil, fault(field, file, "holds no PEM: no line begins with -----BEGIN")
	case begun != len(blocks):
		return nil, fault(field, file, "is damaged: of %d PEM blocks %d can be read", begun, len(blocks))
	}
	return blocks, nil
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if err == nil && len(raw) > mostBytes {
		err = fmt.Errorf("%s is larger than %d MiB", file, mostBytes>>20)
	}
	return raw, err
}

// readAuthorities takes what is not revoked nor secret: a list of revoked certificates
// would have Envoy demand one of every authority, and a key has no business there.
func readAuthorities(file string) (*Secret, *Fault) {
	blocks, bad := readBlocks("ca", file)
	if bad != nil {
		return nil, bad
	}
	s := &Secret{pool: x509.NewCertPool()}
	for i, b := range blocks {
		switch {
		case strings.HasSuffix(b.Type, blockKey):
			return nil, fault("ca", file, "holds a private key: only certificates of authorities belong there")
		case b.Type == blockRevoked:
			return nil, fault("ca", file, "holds a list of revoked certificates, which is not supported")
		case b.Type != blockCertificate:
			return nil, fault("ca", file, "holds %q where certificates are needed", b.Type)
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fault("ca", file, "holds a certificate, the one at place %d, that cannot be read: %w", i+1, err)
		}
		s.trust(cert)
	}
	return s, nil
}

// trust adds an authority.
func (s *Secret) trust(cert *x509.Certificate) {
	s.pool.AddCert(cert)
	s.certificates = append(s.certificates, encode(blockCertificate, cert.Raw)...)
	if s.notAfter.IsZero() || cert.NotAfter.After(s.notAfter) {
		s.notAfter = cert.NotAfter
	}
	if s.notBefore.IsZero() || cert.NotBefore.Before(s.notBefore) {
		s.notBefore = cert.NotBefore
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func readPair(certFile, keyFile string, hosts []string) (*Secret, *Fault) {
	chain, bad := readChain(certFile)
	if bad != nil {
		return nil, bad
	}
	key, bad := readKey(keyFile)
	if bad != nil {
		return nil, bad
	}
	leaf := chain[0]
	if !fits(key, leaf) {
		other := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return fits(key, c) })
		if other > 0 {
			return nil, fault("cert", certFile, "has the certificate of the key at place %d: it must be the first", other+1)
		}
		return nil, fault("key", keyFile, "does not fit the certificate in %s", certFile)
	}
	if err := supported(leaf); err != nil {
		return nil, fault("cert", certFile, "%w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fault("key", keyFile, "cannot be used: %w", err)
	}
	s := &Secret{key: encode(blockKey, der), leaf: leaf, pair: tls.Certificate{PrivateKey: key, Leaf: leaf}}
	for _, cert := range chain {
		s.certificates = append(s.certificates, encode(blockCertificate, cert.Raw)...)
		s.pair.Certificate = append(s.pair.Certificate, cert.Raw)
		if s.notAfter.IsZero() || cert.NotAfter.Before(s.notAfter) {
			s.notAfter = cert.NotAfter
		}
		if cert.NotBefore.After(s.notBefore) {
			s.notBefore = cert.NotBefore
		}
	}
	if host := s.covers(hosts); host != "" {
		return nil, fault("hosts", certFile, "is not for %s, but for %s", host, names(leaf))
	}
	return s, nil
}

func readChain(file string) ([]*x509.Certificate, *Fault) {
	blocks, bad := readBlocks("cert", file)
	if bad != nil {
		return nil, bad
	}
	var chain []*x509.Certificate
	for _, b := range blocks {
		if b.Type != blockCertificate {
			continue // a key in the same file
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fault("cert", file, "holds a certificate, the one at place %d, that cannot be read: %w", len(chain)+1, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fault("cert", file, "holds no certificate")
	}
	return chain, nil
}

func readKey(file string) (crypto.Signer, *Fault) {
	blocks, bad := readBlocks("key", file)
	if bad != nil {
		return nil, bad
	}
	var found *pem.Block
	for _, b := range blocks {
		switch {
		case !strings.HasSuffix(b.Type, blockKey):
		case found != nil:
			return nil, fault("key", file, "holds more than one private key")
		default:
			found = b
		}
	}
	switch {
	case found == nil:
		return nil, fault("key", file, "holds no private key")
	case found.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(found.Headers["Proc-Type"], "ENCRYPTED"):
		return nil, fault("key", file, "is encrypted: a key without a password is needed")
	}
	key, err := parseKey(found)
	if err != nil {
		return nil, fault("key", file, "holds a private key that cannot be read: %w", err)
	}
	return key, nil
}

func parseKey(b *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch b.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it is of a kind that signs nothing")
	}
	return signer, nil
}

func fits(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

// leastRSA is what Envoy takes.
const leastRSA = 2048

// supported says which keys Envoy can use.
func supported(cert *x509.Certificate) error {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < leastRSA {
			return fmt.Errorf("has an RSA key of %d bits: Envoy takes %d or more", n, leastRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		if slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return nil
		}
		return fmt.Errorf("has a key of the curve %s: Envoy takes P-256, P-384 and P-521", key.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return errors.New("has a key that is neither RSA, nor ECDSA, nor Ed25519")
}

// names says for whom a certificate is.
func names(cert *x509.Certificate) string {
	all := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no host at all (subject alternative names count, the common name does not)"
	}
	return strings.Join(all, ", ")
}

// systemFiles are where systems keep the authorities that they trust.
func systemFiles() []string {
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		return []string{file}
	}
	return []string{
		"/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine
		"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/ca-bundle.pem", // openSUSE
		"/etc/ssl/cert.pem",      // the BSDs, macOS
	}
}

// readSystem takes the authorities of this machine, and not of Envoy's: whom pods must
// be certified by is the same for all Envoys, and known here. What Go cannot read of
// them is left out.
func readSystem() (*Secret, *Fault) {
	var files []string
	for _, file := range systemFiles() {
		raw, err := readBounded(file)
		if err != nil {
			files = append(files, file)
			continue
		}
		s := &Secret{pool: x509.NewCertPool()}
		for rest := raw; ; {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				break
			}
			if cert, err := x509.ParseCertificate(b.Bytes); err == nil && b.Type == blockCertificate {
				s.trust(cert)
			}
		}
		if len(s.certificates) > 0 {
			s.notBefore, s.notAfter = time.Time{}, time.Time{}
			return s, nil
		}
		files = append(files, file)
	}
	return nil, &Fault{Field: "ca", Err: fmt.Errorf(
		"is needed: whom is one to trust? This machine has no authorities of its own (looked for in %s)", strings.Join(files, ", "))}
}
