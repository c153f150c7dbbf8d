package envoy

import (
	"net"
	"strconv"
	"testing"

	"github.com/stateful-route/stateful-route/config"
)

// The samples are what users start from, and make run starts as they are: they
// must load, and the two files must agree on where things listen.
func TestSampleConfigurationsFitTogether(t *testing.T) {
	xds, err := config.LoadXDSServer("xds-server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	extproc, err := config.LoadExtproc("extproc.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if extproc.XDS != xds.Listen {
		t.Errorf("extproc asks %s, xds-server listens on %s", extproc.XDS, xds.Listen)
	}
	if got := xds.Envoy.Extproc.Addresses; len(got) != 1 || got[0] != extproc.Listen {
		t.Errorf("Envoy calls %v, extproc listens on %s", got, extproc.Listen)
	}
	view, err := BootstrapOptions{}.view()
	if err != nil {
		t.Fatal(err)
	}
	if got := net.JoinHostPort(view.XDSHost, strconv.Itoa(int(view.XDSPort))); got != xds.Listen {
		t.Errorf("the bootstrap asks %s, xds-server listens on %s", got, xds.Listen)
	}
	if pods := xds.Services[0].Pods.Static; len(pods) != 3 {
		t.Errorf("the demo has %d pods, the README says 3", len(pods))
	}
}
