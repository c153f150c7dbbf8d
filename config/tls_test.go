package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/testtls"
	"github.com/stateful-route/stateful-route/xds/secret"
)

// loaded is the configuration of a text, beside which NAME.pem and NAME.key are good.
func loaded(t *testing.T, text string, opts ...Option) (*XDSServer, string, error) {
	t.Helper()
	dir := t.TempDir()
	ca := testtls.NewAuthority(t)
	ca.Write(dir, "good", testtls.Leaf{Hosts: []string{"a.example.com"}})
	ca.WriteCA(dir, "ca")
	file := filepath.Join(dir, "x.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadXDSServer(file, opts...)
	return cfg, dir, err
}

const oneService = "\nservices: [{name: chat, pods: {static: []}}]\n"

// A listener speaks TLS where there is a certificate, unless it says otherwise.
func TestWhichListenersSpeakTLS(t *testing.T) {
	const certified = `tls: [{cert: good.pem, key: good.key}]`
	for text, want := range map[string]string{
		`{}`:                                   "[{0.0.0.0:10000 false}]",
		`{` + certified + `}`:                  "[{0.0.0.0:10000 true}]",
		`{listener: "1.2.3.4:5"}`:              "[{1.2.3.4:5 false}]",
		`{listener: [{address: "1.2.3.4:5"}]}`: "[{1.2.3.4:5 false}]",
		`{listener: ["1.2.3.4:80", {address: "1.2.3.4:443"}], ` + certified + `}`:                             "[{1.2.3.4:80 true} {1.2.3.4:443 true}]",
		`{listener: [{address: "1.2.3.4:80", tls: false}, "1.2.3.4:443"], ` + certified + `}`:                 "[{1.2.3.4:80 false} {1.2.3.4:443 true}]",
		`{listener: [{tls: true, address: "1.2.3.4:443"}, {address: "1.2.3.4:1"}], ` + certified + `}`:        "[{1.2.3.4:443 true} {1.2.3.4:1 true}]",
		`{listener: [&x {address: "1.2.3.4:1"}, {<<: *x, address: "1.2.3.4:2", tls: no}], ` + certified + `}`: "[{1.2.3.4:1 true} {1.2.3.4:2 false}]",
	} {
		cfg, _, err := loaded(t, "envoy: "+text+oneService)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := fmt.Sprint(cfg.Envoy.Listeners); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// The name that pods are checked by is the one that is written or, without, the one that
// they are known by.
func TestTheNameOfPods(t *testing.T) {
	for text, want := range map[string]string{
		`tls: {ca: ca.pem, sni: Chat.Internal}, pods: {dns: {host: other, port: 1}}`:                                    "chat.internal",
		`tls: {ca: ca.pem}, pods: {dns: {host: Chat.Internal., port: 1}}`:                                               "chat.internal",
		`tls: {ca: ca.pem}, health_check: {http: /, host: "Asked.Internal:81"}, pods: {dns: {host: x, port: 1}}`:        "asked.internal",
		`tls: {ca: ca.pem}, health_check: {http: /, host: "10.0.0.1:81"}, pods: {dns: {host: chat.internal, port: 1}}`:  "chat.internal",
		`tls: {ca: ca.pem}, health_check: {http: /, host: "[::1]:81"}, pods: {dns: {host: chat.internal, port: 1}}`:     "chat.internal",
		`tls: {ca: ca.pem, sni: a, cert: good.pem, key: good.key}, pods: {static: [{name: a, address: "127.0.0.1:1"}]}`: "a",
		`tls: {}, pods: {dns: {host: chat.internal, port: 1}}`:                                                          "chat.internal",
		`tls: ~, pods: {static: []}`: "none",
	} {
		t.Setenv("SSL_CERT_FILE", "testdata/tls/chat.pem")
		cfg, dir, err := loaded(t, "services: [{name: chat, "+text+"}]\n")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		name := "none"
		if tls := cfg.Services[0].TLS; tls != nil {
			name = tls.ServerName
			for _, file := range []string{tls.CA, tls.Cert, tls.Key} {
				if file != "" && filepath.Dir(file) != dir {
					t.Errorf("%s is not beside the configuration", file)
				}
			}
		}
		if name != want {
			t.Errorf("%s: %s, want %s", text, name, want)
		}
	}
	t.Setenv("SSL_CERT_FILE", "none")
	if _, _, err := loaded(t, "services: [{name: chat, tls: {sni: a}, pods: {static: []}}]\n"); err == nil || !strings.Contains(err.Error(), "services[0].tls.ca: is needed") {
		t.Errorf("nobody to trust: %v", err)
	}
}

// What is bad in a file is no reason to refuse a configuration where an earlier version of
// the file stays in force; else the error names the files.
func TestFilesOfWhichAnEarlierVersionIsKept(t *testing.T) {
	const text = "envoy: {tls: [{hosts: [a.example.com], cert: good.pem, key: ca.pem}]}" + oneService
	_, dir, err := loaded(t, text)
	var bad *FilesError
	if !errors.As(err, &bad) || !slices.Equal(bad.Files, []string{filepath.Join(dir, "ca.pem")}) {
		t.Errorf("%v: %+v", err, bad)
	}
	var asked []secret.Ref
	cfg, dir, err := loaded(t, text, WithKeptSecrets(func(r secret.Ref) bool { asked = append(asked, r); return true }))
	want := statefulroute.Certificate{Hosts: []string{"a.example.com"}, Cert: filepath.Join(dir, "good.pem"), Key: filepath.Join(dir, "ca.pem")}
	if err != nil || len(asked) != 1 || asked[0].Name() != secret.Server(want).Name() || len(asked[0].Hosts) != 1 || len(cfg.Secrets()) != 1 {
		t.Errorf("%v: %+v", err, asked)
	}
	if _, _, err := loaded(t, "envoy: {tls: [{cert: good.pem}]}"+oneService, WithKeptSecrets(func(secret.Ref) bool { return true })); err == nil || errors.As(err, &bad) {
		t.Errorf("what is wrong in the configuration itself: %v", err)
	}
}

// A file that many services name is read once. A pipe can be read no second time.
func TestFilesOfManyServicesAreReadOnce(t *testing.T) {
	ca, err := os.ReadFile("testdata/tls/chat.pem")
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.Write(ca); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text := "services:\n"
	for _, name := range []string{"a", "b", "c"} {
		text += fmt.Sprintf("- {name: %s, match: {hosts: [%[1]s]}, tls: {ca: /dev/fd/%d, sni: pods}, pods: {static: []}}\n", name, r.Fd())
	}
	if _, _, err := loaded(t, text); err != nil {
		t.Error(err)
	}
}

// Private keys leave this machine only where somebody said so.
func TestWhereKeysMayTravel(t *testing.T) {
	const pods = "services: [{name: chat, tls: {ca: ca.pem, sni: a%s}, pods: {static: []}}]\n"
	client, none := fmt.Sprintf(pods, ", cert: good.pem, key: good.key"), fmt.Sprintf(pods, "")
	for text, refused := range map[string]bool{
		"listen: 10.0.0.1:1\n" + client:                      true,
		"listen: '[::]:1'\n" + client:                        true,
		"listen: 10.0.0.1:1\ninsecure: true\n" + client:      false,
		"listen: 10.0.0.1:1\n" + none:                        false,
		"listen: 127.0.0.2:1\n" + client:                     false,
		"listen: '[::1]:1'\n" + client:                       false,
		"listen: 10.0.0.1:1\ninsecure: false\n" + oneService: false,
	} {
		cfg, _, err := loaded(t, text)
		if (err != nil) != refused || err != nil && !strings.Contains(err.Error(), "insecure: true") {
			t.Errorf("%s: %v", text, err)
		}
		if err == nil && cfg.Insecure != strings.Contains(text, "true") {
			t.Errorf("%s: %v", text, cfg.Insecure)
		}
	}
}
