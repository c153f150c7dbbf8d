package xds

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/load"
)

func TestAdminAPI(t *testing.T) {
	srv := startServer(t, "a", time.Second)
	odd := testPod("<script>/x", 2)
	srv.config(t, testPod("a", 1), odd)
	loads := load.NewStore()
	loads.Report(time.Now(), "envoy", clusterStats(podStats(testPod("a", 1), 3, 1, 5)), srv.Model())
	mux := http.NewServeMux()
	(&Admin{Server: srv.Server, Loads: loads}).Register(mux)
	call := func(method, path string, want int, into any) {
		t.Helper()
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		if rec.Code != want {
			t.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
		}
		if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
			t.Fatalf("%s %s: %v in %s", method, path, err, rec.Body)
		}
	}

	var services []ServiceReport
	call("GET", "/api/v1/services", 200, &services)
	if len(services) != 1 || services[0].Name != "chat" || services[0].Pods["ready"] != 2 {
		t.Errorf("services: %+v", services)
	}
	var pods []PodReport
	call("GET", "/api/v1/services/chat/pods", 200, &pods)
	if len(pods) != 2 || pods[0].InFlight != 5 || pods[0].ErrorRate != .25 || pods[0].State != "ready" || pods[1].Name != odd.Name {
		t.Errorf("pods: %+v", pods)
	}
	var pod PodReport
	call("POST", "/api/v1/services/chat/pods/%3Cscript%3E%2Fx/drain", 200, &pod)
	if pod.Name != odd.Name || pod.State != "draining" {
		t.Errorf("drained: %+v", pod)
	}
	call("POST", "/api/v1/services/chat/pods/a/maintenance", 200, &pod)
	if m := srv.Model(); m.Services[0].Members[0].State != statefulroute.Maintenance {
		t.Errorf("maintenance: %s", show(m))
	}
	call("POST", "/api/v1/services/chat/pods/a/ready", 200, &pod)
	if pod.State != "ready" {
		t.Errorf("ready: %+v", pod)
	}
	var failure map[string]string
	call("GET", "/api/v1/services/rooms/pods", 404, &failure)
	call("POST", "/api/v1/services/chat/pods/b/drain", 404, &failure)
	if failure["error"] == "" {
		t.Errorf("errors are told as JSON: %v", failure)
	}
	var envoys []ClientStatus
	call("GET", "/api/v1/envoys", 200, &envoys)
	if envoys == nil || len(envoys) != 0 {
		t.Errorf("no client yet: %v", envoys)
	}
}
