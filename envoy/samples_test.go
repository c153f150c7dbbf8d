package envoy

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/config"
)

// What the sample has as a comment can be taken as it is.
func TestTheSampleOfAStoreInACommentIsGood(t *testing.T) {
	text, err := os.ReadFile("extproc.yaml")
	if err != nil {
		t.Fatal(err)
	}
	before, block, found := strings.Cut(string(text), "\n# store:\n")
	if !found {
		t.Fatal("there is none")
	}
	before, _, _ = strings.Cut(before, "\nstore:\n")
	store := "store:\n"
	for line := range strings.Lines(block) {
		if !strings.HasPrefix(line, "#   ") {
			break
		}
		store += strings.TrimPrefix(line, "# ")
	}
	file := filepath.Join(t.TempDir(), "extproc.yaml")
	if err := os.WriteFile(file, []byte(before+"\n"+store), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.LoadExtproc(file)
	if err != nil {
		t.Fatal(err)
	}
	if v := cfg.Store.Valkey; v == nil || len(v.Addresses) != 1 || cfg.Store.Memory != nil {
		t.Fatalf("the store is %+v", cfg.Store)
	}
	// The values are the defaults, so that a reader sees them.
	short := filepath.Join(t.TempDir(), "extproc.yaml")
	if err := os.WriteFile(short, []byte("store: {valkey: {addresses: [127.0.0.1:6379]}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	defaults, err := config.LoadExtproc(short)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg.Store, defaults.Store) {
		t.Errorf("the sample says %+v, the defaults are %+v", *cfg.Store.Valkey, *defaults.Store.Valkey)
	}
}

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
