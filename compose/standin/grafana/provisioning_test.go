package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const checkout = "../../.."

// tree lays the repository's files out as docker-compose.yaml mounts them.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for from, to := range map[string]string{"compose/grafana/provisioning": provisioningPath, "dashboards": "etc/dashboards"} {
		if err := os.CopyFS(filepath.Join(root, to), os.DirFS(filepath.Join(checkout, from))); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestRepositoryIsProvisioned(t *testing.T) {
	p, err := load(tree(t))
	if err != nil {
		t.Fatal(err)
	}
	if d := p.dashboards["stateful-route"]; d.Title != "Stateful Route" || len(d.Panels) < 5 {
		t.Errorf("dashboard %q with %d panels", d.Title, len(d.Panels))
	}
	if u := p.datasources["prometheus"]; u == nil || u.Host != "prometheus:9090" {
		t.Errorf("data source %v", u)
	}
}

func TestFaultsAreRefused(t *testing.T) {
	faults := []struct{ file, old, replacement, want string }{
		{provisioningPath + "/datasources/prometheus.yaml", "editable", "editible", "editible"},
		{provisioningPath + "/datasources/prometheus.yaml", "http://prometheus:9090", "prometheus", "is no URL"},
		{provisioningPath + "/dashboards/stateful-route.yaml", "/etc/dashboards", "/etc/nothing", "no dashboard"},
		{"etc/dashboards/stateful-route.json", "${datasource}", "mysql", "not provisioned"},
		{"etc/dashboards/stateful-route.json", `"panels": [`, `"panels": {`, "invalid character"},
		{"etc/dashboards/stateful-route.json", `"expr": "`, `"exp": "`, "empty query"},
	}
	for _, f := range faults {
		root := tree(t)
		file := filepath.Join(root, f.file)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), f.old, f.replacement)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := load(root); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("%q instead of %q: got %v, want %q", f.replacement, f.old, err, f.want)
		}
	}
}

func TestQueriesReachTheDataSource(t *testing.T) {
	prometheus := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.URL.String()))
	}))
	defer prometheus.Close()
	target, err := url.Parse(prometheus.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := &provisioned{datasources: map[string]*url.URL{"prometheus": target}}
	got := httptest.NewRecorder()
	p.handler().ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/api/datasources/proxy/uid/prometheus/api/v1/query?query=up", http.NoBody))
	if got.Code != 200 || got.Body.String() != "/api/v1/query?query=up" {
		t.Errorf("%d: %s", got.Code, got.Body)
	}
	missing := httptest.NewRecorder()
	p.handler().ServeHTTP(missing, httptest.NewRequest(http.MethodGet, "/api/dashboards/uid/none", http.NoBody))
	if missing.Code != 404 {
		t.Errorf("unknown dashboard: %d", missing.Code)
	}
}
