package harness

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Config is xds-server's configuration file, as far as the tests vary it.
type Config struct {
	Listen   string         `yaml:"listen"`
	Admin    string         `yaml:"admin"`
	Envoy    EnvoyConfig    `yaml:"envoy"`
	Services []Service      `yaml:"services"`
	Analyzer map[string]any `yaml:"analyzer,omitempty"`
	State    string         `yaml:"state,omitempty"`
}

// EnvoyConfig is what all Envoys get beside the services.
type EnvoyConfig struct {
	Listener     []Listener    `yaml:"listener"`
	TLS          []Certificate `yaml:"tls,omitempty"`
	Extproc      Extproc       `yaml:"extproc"`
	TrustedHops  int           `yaml:"trusted_hops,omitempty"`
	HTTP10       bool          `yaml:"http10,omitempty"`
	DebugHeaders bool          `yaml:"debug_headers,omitempty"`
	Tracing      *Tracing      `yaml:"tracing,omitempty"`
}

// Listener is one item of envoy.listener.
type Listener struct {
	Address string
	// Plain says tls: false.
	Plain bool
}

// MarshalYAML writes an address alone where nothing more is said of it.
func (l Listener) MarshalYAML() (any, error) {
	if !l.Plain {
		return l.Address, nil
	}
	return map[string]any{"address": l.Address, "tls": false}, nil
}

// Certificate is one item of envoy.tls.
type Certificate struct {
	Hosts []string `yaml:"hosts,omitempty"`
	Cert  string   `yaml:"cert"`
	Key   string   `yaml:"key"`
}

// Tracing says where Envoy sends its spans.
type Tracing struct {
	OTLP   string `yaml:"otlp"`
	Sample *int   `yaml:"sample,omitempty"`
}

// Extproc says where Envoy finds the external processors.
type Extproc struct {
	Address         []string `yaml:"address"`
	MessageTimeout  string   `yaml:"message_timeout,omitempty"`
	SessionAffinity bool     `yaml:"session_affinity,omitempty"`
}

// Service is one entry of services.
type Service struct {
	Name        string         `yaml:"name"`
	Match       map[string]any `yaml:"match,omitempty"`
	Session     Session        `yaml:"session,omitempty"`
	Balancing   map[string]any `yaml:"balancing,omitempty"`
	Pods        Pods           `yaml:"pods"`
	HealthCheck map[string]any `yaml:"health_check,omitempty"`

	TLS                   map[string]string `yaml:"tls,omitempty"`
	Protocol              string            `yaml:"protocol,omitempty"`
	ConnectionIdleTimeout string            `yaml:"connection_idle_timeout,omitempty"`
	StreamIdleTimeout     string            `yaml:"stream_idle_timeout,omitempty"`
	RequestTimeout        string            `yaml:"request_timeout,omitempty"`
}

// Session is a service's session policy.
type Session struct {
	Key           []map[string]any  `yaml:"key,omitempty"`
	Learn         []map[string]any  `yaml:"learn,omitempty"`
	Issue         map[string]string `yaml:"issue,omitempty"`
	End           []map[string]any  `yaml:"end,omitempty"`
	IdleTimeout   string            `yaml:"idle_timeout,omitempty"`
	OnPodLoss     string            `yaml:"on_pod_loss,omitempty"`
	OnExtprocLoss string            `yaml:"on_extproc_loss,omitempty"`
	OnStoreLoss   string            `yaml:"on_store_loss,omitempty"`
	EpochHeader   bool              `yaml:"epoch_header,omitempty"`
}

// Pods is a service's source of pods: a static list, unless a file is named that
// holds it.
type Pods struct {
	Static []Pod
	// File is where the test keeps the list, at first that of Static; see PodsText.
	File string
}

// MarshalYAML writes an empty static list, too.
func (p Pods) MarshalYAML() (any, error) {
	if p.File != "" {
		return map[string]string{"file": p.File}, nil
	}
	return map[string][]Pod{"static": append([]Pod{}, p.Static...)}, nil
}

// PodsText is a pods file with the list, a line for each pod.
func PodsText(pods []Pod) string {
	var b strings.Builder
	for _, p := range pods {
		fmt.Fprintf(&b, "- {name: %s, address: %s, weight: %d}\n", p.Name, p.Address, max(p.Weight, 1))
	}
	return b.String()
}

// Pod is one entry of pods.static. The harness gives it an address and starts a
// demo pod there when it has none.
type Pod struct {
	Name    string `yaml:"name"`
	Address string `yaml:"address"`
	Weight  uint32 `yaml:"weight,omitempty"`
	Zone    string `yaml:"zone,omitempty"`
}

// AllSources are the four places of the sample configuration.
func AllSources() []map[string]any {
	return []map[string]any{
		{"header": "x-session-id"}, {"cookie": "sid"}, {"query": "session"}, {"path": "^/rooms/([^/]+)"},
	}
}

// Chat is a service with n pods, chat-0 and so on, and all four key sources.
func Chat(n int) Service {
	s := Service{Name: "chat", Session: Session{Key: AllSources()}}
	for i := range n {
		s.Pods.Static = append(s.Pods.Static, Pod{Name: fmt.Sprintf("chat-%d", i), Weight: 1})
	}
	return s
}

// write replaces file in one step, as a careful editor does.
func (c *Config) write(t testing.TB, file string) {
	t.Helper()
	writeYAML(t, file, c)
}

func writeYAML(t testing.TB, file string, v any) {
	t.Helper()
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}
