package secret

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/testtls"
)

func write(t *testing.T, file string, parts ...[]byte) string {
	t.Helper()
	if err := os.WriteFile(file, slices.Concat(parts...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What is in the files is read, whatever stands around it.
func TestFilesThatAreGood(t *testing.T) {
	dir, ca := t.TempDir(), testtls.NewAuthority(t)
	cert, key := ca.Issue(testtls.Leaf{Hosts: []string{"a.example.com", "*.b.example.com"}})
	hosts := []string{"a.example.com", "*.b.example.com", "x.b.example.com"}
	both := write(t, filepath.Join(dir, "both"), []byte("of: us\n"), key, []byte("\nsubject=x\n"), cert, ca.PEM())
	s, fault := Ref{Cert: both, Key: both, Hosts: hosts}.Read()
	if fault != nil {
		t.Fatal(fault)
	}
	if len(s.Pair().Certificate) != 2 || string(s.Certificates()) != string(cert)+string(ca.PEM()) || string(s.Key()) != string(key) {
		t.Errorf("read %d certificates: %s%s", len(s.Pair().Certificate), s.Certificates(), s.Key())
	}
	if s.Expires().Before(time.Now()) || s.Expires().After(time.Now().Add(time.Hour)) {
		t.Errorf("expires %v", s.Expires())
	}
	for kind, signer := range map[string]any{
		"rsa": must(rsa.GenerateKey(rand.Reader, 2048)), "p521": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
	} {
		block := &pem.Block{Type: "RSA PRIVATE KEY"}
		var leaf testtls.Leaf
		switch k := signer.(type) {
		case *rsa.PrivateKey:
			leaf.Key, block.Bytes = k, x509.MarshalPKCS1PrivateKey(k)
		case *ecdsa.PrivateKey:
			leaf.Key, block = k, &pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(k))}
		}
		c, _ := ca.Issue(leaf)
		parameters := pem.EncodeToMemory(&pem.Block{Type: blockParameters, Bytes: []byte{6, 0}})
		r := Ref{Cert: write(t, filepath.Join(dir, kind+".pem"), c), Key: write(t, filepath.Join(dir, kind+".key"), parameters, pem.EncodeToMemory(block))}
		if _, fault := r.Read(); fault != nil {
			t.Errorf("%s: %v", kind, fault)
		}
	}
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	certFile, keyFile := ca.Write(dir, "ed", testtls.Leaf{Key: edKey})
	if _, fault := (Ref{Cert: certFile, Key: keyFile}).Read(); fault != nil {
		t.Error(fault)
	}
	authorities := write(t, filepath.Join(dir, "ca"), []byte("# ours\n"), ca.PEM(), testtls.NewAuthority(t).PEM())
	if s, fault := (Ref{Authorities: true, CA: authorities}).Read(); fault != nil || strings.Count(string(s.Certificates()), "BEGIN") != 2 || s.Key() != nil {
		t.Errorf("%v, %v", s, fault)
	}
}

func TestFilesThatAreBad(t *testing.T) {
	dir, ca := t.TempDir(), testtls.NewAuthority(t)
	file := func(name string, parts ...[]byte) string { return write(t, filepath.Join(dir, name), parts...) }
	cert, key := ca.Issue(testtls.Leaf{Hosts: []string{"a.example.com"}})
	_, otherKey := ca.Issue(testtls.Leaf{})
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	weakCert, weakKey := ca.Write(dir, "weak", testtls.Leaf{Key: weak})
	oddCert, oddKey := ca.Write(dir, "odd", testtls.Leaf{Key: must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))})
	anonymous, anonymousKey := ca.Write(dir, "anonymous", testtls.Leaf{})
	goodCert, goodKey := file("good.pem", cert), file("good.key", key)
	text := file("text", []byte("hello"))
	damaged := file("damaged", cert, []byte(strings.Replace(string(cert), "MII", "M!!", 1)))
	block := func(kind string) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte{1}}) }
	for name, c := range map[string]struct {
		ref         Ref
		field, says string
	}{
		"no file":         {Ref{Cert: filepath.Join(dir, "none"), Key: goodKey}, "cert", "no such file"},
		"a folder":        {Ref{Cert: goodCert, Key: dir}, "key", "is a directory"},
		"too large":       {Ref{Cert: file("large", make([]byte, mostBytes+1)), Key: goodKey}, "cert", "larger than 1 MiB"},
		"no PEM":          {Ref{Cert: text, Key: goodKey}, "cert", "holds no PEM"},
		"damaged":         {Ref{Cert: damaged, Key: goodKey}, "cert", "of 2 PEM blocks 1 can be read"},
		"no certificate":  {Ref{Cert: goodKey, Key: goodKey}, "cert", "holds no certificate"},
		"bad certificate": {Ref{Cert: file("bad", block(blockCertificate)), Key: goodKey}, "cert", "place 1"},
		"no key":          {Ref{Cert: goodCert, Key: goodCert}, "key", "holds no private key"},
		"two keys":        {Ref{Cert: goodCert, Key: file("two", key, otherKey)}, "key", "more than one"},
		"bad key":         {Ref{Cert: goodCert, Key: file("badkey", block(blockKey))}, "key", "cannot be read"},
		"encrypted":       {Ref{Cert: goodCert, Key: file("locked", block("ENCRYPTED PRIVATE KEY"))}, "key", "is encrypted"},
		"encrypted, old": {Ref{Cert: goodCert, Key: file("old", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte{1},
			Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "x"}}))}, "key", "is encrypted"},
		"another's key":      {Ref{Cert: goodCert, Key: file("other", otherKey)}, "key", "does not fit"},
		"chain upside down":  {Ref{Cert: file("chain", ca.PEM(), cert), Key: goodKey}, "cert", "at place 2"},
		"weak key":           {Ref{Cert: weakCert, Key: weakKey}, "cert", "1024 bits"},
		"odd curve":          {Ref{Cert: oddCert, Key: oddKey}, "cert", "P-224"},
		"another host":       {Ref{Cert: goodCert, Key: goodKey, Hosts: []string{"b.example.com"}}, "hosts", "is not for b.example.com, but for a.example.com"},
		"a wildcard":         {Ref{Cert: goodCert, Key: goodKey, Hosts: []string{"*.example.com"}}, "hosts", "is not for *.example.com"},
		"no host":            {Ref{Cert: anonymous, Key: anonymousKey, Hosts: []string{"a"}}, "hosts", "common name does not"},
		"ca with a key":      {Ref{Authorities: true, CA: file("ca1", ca.PEM(), key)}, "ca", "holds a private key"},
		"ca with a list":     {Ref{Authorities: true, CA: file("ca2", block(blockRevoked))}, "ca", "revoked"},
		"ca of another kind": {Ref{Authorities: true, CA: file("ca3", block("PUBLIC KEY"))}, "ca", `"PUBLIC KEY"`},
		"bad ca":             {Ref{Authorities: true, CA: file("ca4", block(blockCertificate))}, "ca", "place 1"},
	} {
		_, fault := c.ref.Read()
		if fault == nil || fault.Field != c.field || !strings.Contains(fault.Error(), c.says) {
			t.Errorf("%s: %+v, want %s: %s", name, fault, c.field, c.says)
		}
	}
}

func TestTheSystemsAuthorities(t *testing.T) {
	ca := testtls.NewAuthority(t)
	file := write(t, filepath.Join(t.TempDir(), "ca"), ca.PEM(), pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: []byte{1}}))
	t.Setenv("SSL_CERT_FILE", file)
	s, fault := Ref{Authorities: true}.Read()
	if fault != nil || string(s.Certificates()) != string(ca.PEM()) || !s.Expires().IsZero() || s.Warning(time.Now().Add(time.Hour*1e5)) != "" {
		t.Errorf("%v, %v", s, fault)
	}
	t.Setenv("SSL_CERT_FILE", file+".gone")
	if _, fault := (Ref{Authorities: true}).Read(); fault == nil || !strings.Contains(fault.Error(), "is needed: whom is one to trust?") {
		t.Errorf("without any: %v", fault)
	}
}

func TestWarnings(t *testing.T) {
	ca, dir := testtls.NewAuthority(t), t.TempDir()
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, c := range []struct {
		life, age time.Duration
		want      string
	}{
		{90 * day, -time.Second, "is not valid before 2026-01-01"},
		{90 * day, 0, ""}, {90 * day, 75 * day, ""}, {90 * day, 77 * day, "expires at 2026-04-01"}, {90 * day, 90 * day, "expired at 2026-04-01"},
		{6 * day, 4 * day, ""}, {6 * day, 5*day + time.Second, "expires at"},
	} {
		cert, key := ca.Write(dir, "x", testtls.Leaf{From: from, To: from.Add(c.life)})
		s, fault := Ref{Cert: cert, Key: key}.Read()
		if fault != nil {
			t.Fatal(fault)
		}
		if got := s.Warning(from.Add(c.age)); got != c.want && (c.want == "" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%v of %v: %q, want %q", c.age, c.life, got, c.want)
		}
	}
}

func TestRefsAreListedOnce(t *testing.T) {
	pod := &statefulroute.PodTLS{CA: "ca", Cert: "c", Key: "k"}
	refs := Refs(
		[]statefulroute.Certificate{{Hosts: []string{"a"}, Cert: "c", Key: "k"}, {Cert: "d", Key: "k"}, {Hosts: []string{"b"}, Cert: "c", Key: "k"}},
		[]statefulroute.Service{{TLS: pod}, {TLS: pod}, {}, {TLS: &statefulroute.PodTLS{}}},
	)
	var names []string
	for _, r := range refs {
		names = append(names, fmt.Sprint(r.Name(), r.Hosts))
	}
	want := "authorities ca[], authorities of the system[], certificate c k[a b], certificate d k[]"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestASecretIsNotPrinted(t *testing.T) {
	certFile, keyFile := testtls.NewAuthority(t).Write(t.TempDir(), "x", testtls.Leaf{})
	s, fault := Ref{Cert: certFile, Key: keyFile}.Read()
	if fault != nil {
		t.Fatal(fault)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, s); got != "a secret" {
			t.Errorf("%s: %.50s", verb, got)
		}
	}
}
