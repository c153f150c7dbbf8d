package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/testtls"
)

// degradedText is what the readiness says.
func (r *running) degradedText() string {
	_, body := r.get("/readyz")
	return body
}

// A bad certificate is reported as a bad configuration is, and the last good one stays;
// what else changes in the configuration meanwhile is taken over.
func TestABadCertificateIsReportedAndKeptOut(t *testing.T) {
	dir, ca := t.TempDir(), testtls.NewAuthority(t)
	certFile, keyFile := ca.Write(dir, "a", testtls.Leaf{Hosts: []string{"a.example.com"}})
	const certified = "envoy: {tls: [{hosts: [a.example.com], cert: a.pem, key: a.key}%s]}\n"
	text := func(admin string) string { return goodConfig(admin, 1, fmt.Sprintf(certified, "")) }
	r := startIn(t, dir, text)
	expiry := func() int64 {
		v, _ := strconv.ParseFloat(r.metric(fmt.Sprintf(`stateful_route_tls_certificate_expiry_timestamp_seconds{file=%q}`, certFile)), 64)
		return int64(v)
	}
	if at := time.Unix(expiry(), 0); at.Before(time.Now()) || at.After(time.Now().Add(2*time.Hour)) {
		t.Errorf("the certificate ends at %v", at)
	}
	later := time.Now().Add(48 * time.Hour).Truncate(time.Second)
	ca.Write(dir, "a", testtls.Leaf{Hosts: []string{"a.example.com"}, To: later})
	r.await(t, "to take the renewed certificate", func() bool { return expiry() == later.Unix() })
	if n := r.metric(`stateful_route_tls_reloads_total{result="accepted"}`); n != "1" {
		t.Errorf("%s reloads", n)
	}
	replace(t, certFile, "nothing")
	r.await(t, "to say what is wrong", func() bool {
		_, status := r.get("/api/v1/status")
		return strings.Contains(r.degradedText(), "a.pem holds no PEM") && strings.Count(status, certFile+" holds no PEM") == 2 && // of the certificate, and in degraded

			r.metric("stateful_route_tls_last_reload_successful") == "0" && r.metric(`stateful_route_tls_reloads_total{result="refused"}`) == "1"
	})
	if r.logged("new certificates are bad: the last good ones stay") != 1 || expiry() != later.Unix() {
		t.Errorf("logged %d times, in force until %v", r.logged("new certificates are bad"), time.Unix(expiry(), 0))
	}
	r.write(t, goodConfig(r.admin, 2, fmt.Sprintf(certified, "")))
	r.await(t, "to take the second pod all the same", func() bool { return r.pods() == 2 })
	// Another one, that was never good, refuses the configuration until it is.
	r.write(t, goodConfig(r.admin, 3, fmt.Sprintf(certified, ", {cert: b.pem, key: b.key}")))
	r.await(t, "to refuse a certificate that is missing", func() bool {
		good, reason, _ := r.config()
		return !good && strings.Contains(reason, "envoy.tls[1].cert: cannot be read")
	})
	ca.Write(dir, "b", testtls.Leaf{})
	r.await(t, "to take the configuration once the files are there", func() bool { return r.pods() == 3 })
	ca.Write(dir, "a", testtls.Leaf{Hosts: []string{"a.example.com"}})
	r.await(t, "to be content", func() bool {
		return r.metric("stateful_route_tls_last_reload_successful") == "1" && !strings.Contains(r.degradedText(), "a.pem")
	})
	logs := fmt.Sprint(r.logs.All())
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if line := strings.Split(string(key), "\n")[1]; strings.Contains(logs, line) {
		t.Error("the log has the key")
	}
}

// Time refuses nothing: an expired certificate is told of.
func TestAnExpiredCertificateIsToldOf(t *testing.T) {
	dir, ca := t.TempDir(), testtls.NewAuthority(t)
	ca.Write(dir, "a", testtls.Leaf{From: time.Now().Add(-2 * time.Hour), To: time.Now().Add(-time.Hour)})
	r := startIn(t, dir, func(admin string) string { return goodConfig(admin, 1, "envoy: {tls: [{cert: a.pem, key: a.key}]}\n") })
	r.await(t, "to tell of it", func() bool {
		return r.logged("a certificate needs to be renewed") == 1 && strings.Contains(r.degradedText(), filepath.Join(dir, "a.pem")+" expired at")
	})
}
