package compose_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path"
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
		User     string
		Command  []string
		Volumes  []string
		Ports    []string
		Networks struct {
			Route struct {
				Address string `yaml:"ipv4_address"`
			}
		}
		Healthcheck struct{ Test []string }
	}
	Volumes map[string]struct {
		Options struct{ Type, O string } `yaml:"driver_opts"`
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

// fastPath is the folder of the table in the containers.
const fastPath = "/fast-path/"

// readExtprocs reads the files of both, with a folder of this machine in that one's place,
// for it has to be there.
func readExtprocs(t *testing.T) [2]config.Extproc {
	t.Helper()
	var both [2]config.Extproc
	dir := t.TempDir() + "/"
	for i := range both {
		name := fmt.Sprintf("extproc-%d.yaml", i)
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+name, bytes.ReplaceAll(raw, []byte(fastPath), []byte(dir)), 0o600); err != nil {
			t.Fatal(err)
		}
		ext, err := config.LoadExtproc(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		both[i] = *ext
		both[i].FastPath.Table = strings.Replace(ext.FastPath.Table, dir, fastPath, 1)
	}
	return both
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
	for _, ext := range readExtprocs(t) {
		if want := c.at("xds-server", "18000"); ext.XDS != want {
			t.Errorf("extproc dials xds-server at %s, it is at %s", ext.XDS, want)
		}
		if want := []string{c.at("valkey", "6379")}; ext.Store.Valkey == nil || !slices.Equal(ext.Store.Valkey.Addresses, want) {
			t.Errorf("extproc shares %+v, Valkey is at %v", ext.Store.Valkey, want)
		}
	}
	if want := []string{c.at("extproc-0", "18080"), c.at("extproc-1", "18080")}; !slices.Equal(xds.Envoy.Extproc.Addresses, want) {
		t.Errorf("Envoy dials the extprocs at %v, they are at %v", xds.Envoy.Extproc.Addresses, want)
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
	ext := readExtprocs(t)
	xds, err := config.LoadXDSServer("xds-server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{ext[0].State, ext[1].State, xds.State} {
		if !strings.HasPrefix(file, "/var/lib/stateful-route/") {
			t.Errorf("%q is not in the volume", file)
		}
	}
}

func TestBootstrapIsTheSamplesWithOtherAddresses(t *testing.T) {
	text, err := envoy.Bootstrap(envoy.BootstrapOptions{XDS: "xds-server:18000", Admin: "0.0.0.0:9901",
		Module: "/usr/local/lib/libstateful_route.so", Table: readExtprocs(t)[0].FastPath.Table})
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

// A table has one writer, and one user: it is nobody else's to read, and gone with the machine.
func TestEnvoyAndOneExtprocShareATable(t *testing.T) {
	c, ext := readCompose(t), readExtprocs(t)
	table := ext[0].FastPath.Table
	if same := ext[1]; same.FastPath.Table != "" {
		t.Errorf("extproc-1 has the table %q", same.FastPath.Table)
	}
	ext[0].FastPath.Table = ""
	if !reflect.DeepEqual(ext[0], ext[1]) {
		t.Errorf("extproc-0 has %+v, extproc-1 has %+v", ext[0], ext[1])
	}
	for _, name := range []string{"envoy", "extproc-0"} {
		if volume := "fast-path:" + path.Dir(table); !slices.Contains(c.Services[name].Volumes, volume) {
			t.Errorf("%s has the volumes %q, want %q", name, c.Services[name].Volumes, volume)
		}
	}
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	user := c.Services["envoy"].User
	if !strings.Contains(string(dockerfile), "\nUSER "+user+"\n") {
		t.Errorf("Envoy runs as %s, which is not the user of our image", user)
	}
	uid, _, _ := strings.Cut(user, ":")
	if o := c.Volumes["fast-path"].Options; o.Type != "tmpfs" || !strings.Contains(o.O, "uid="+uid+",") || !strings.Contains(o.O, "mode=0700") {
		t.Errorf("the volume is %+v", o)
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
