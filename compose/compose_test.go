package compose_test

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/envoy"
)

// composeFile is what these tests need of docker-compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Image    string
		Ports    []string
		Networks struct {
			Route struct {
				Address string `yaml:"ipv4_address"`
			}
		}
		Healthcheck struct{ Test []string }
	}
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var c composeFile
	readYAML(t, "../docker-compose.yaml", &c)
	return c
}

// at is the address that a container has, with a port.
func (c composeFile) at(service, port string) string {
	return c.Services[service].Networks.Route.Address + ":" + port
}

// The addresses are written in three files; a container moved in one of them
// alone would be found only when the set-up is brought up.
func TestAddressesAreThoseOfTheContainers(t *testing.T) {
	c := readCompose(t)
	xds, err := config.LoadXDSServer("xds-server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ext, err := config.LoadExtproc("extproc.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := c.at("xds-server", "18000"); ext.XDS != want {
		t.Errorf("extproc dials xds-server at %s, it is at %s", ext.XDS, want)
	}
	if want := []string{c.at("extproc-0", "18080"), c.at("extproc-1", "18080")}; !slices.Equal(xds.Envoy.Extproc.Addresses, want) {
		t.Errorf("Envoy dials the extprocs at %v, they are at %v", xds.Envoy.Extproc.Addresses, want)
	}
	if want := []string{c.at("valkey", "6379")}; ext.Store.Valkey == nil || !slices.Equal(ext.Store.Valkey.Addresses, want) {
		t.Errorf("extproc shares %+v, Valkey is at %v", ext.Store.Valkey, want)
	}
	pods := xds.Services[0].Pods.Static
	if len(pods) != 3 {
		t.Errorf("%d pods", len(pods))
	}
	for _, pod := range pods {
		if want := c.at(pod.Name, "8080"); pod.Address != netip.MustParseAddrPort(want) {
			t.Errorf("%s at %s, its container is at %s", pod.Name, pod.Address, want)
		}
	}
}

func TestServicesAndOrdersOutliveTheContainers(t *testing.T) {
	ext, err := config.LoadExtproc("extproc.yaml")
	if err != nil {
		t.Fatal(err)
	}
	xds, err := config.LoadXDSServer("xds-server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{ext.State, xds.State} {
		if !strings.HasPrefix(file, "/var/lib/stateful-route/") {
			t.Errorf("%q is not in the volume", file)
		}
	}
}

func TestBootstrapIsTheSamplesWithOtherAddresses(t *testing.T) {
	text, err := envoy.Bootstrap(envoy.BootstrapOptions{XDS: "xds-server:18000", Admin: "0.0.0.0:9901"})
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if err := yaml.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	readYAML(t, "envoy.yaml", &got)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestOnlyEnvoyIsOpenToOtherMachines(t *testing.T) {
	c := readCompose(t)
	if len(c.Services) != 10 {
		t.Errorf("%d services", len(c.Services))
	}
	for name, s := range c.Services {
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") && port != "${ENVOY_PORT:-10000}:10000" {
				t.Errorf("%s publishes %s beyond loopback", name, port)
			}
		}
		if len(s.Healthcheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: image %q has no pinned tag", name, s.Image)
		}
	}
}
