package xds

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
)

func TestOrdersOutliveTheServer(t *testing.T) {
	file := OrderFile{Path: filepath.Join(t.TempDir(), "orders.json")}
	run := func(t *testing.T, do func(*running)) {
		srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, Hold: time.Second, Boot: "a", Orders: file})
		srv.config(t, testPod("a", 1), testPod("b", 2), testPod("c", 3))
		orders, err := file.Load()
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Obey(t.Context(), orders); err != nil {
			t.Fatal(err)
		}
		do(srv)
	}
	t.Run("first", func(t *testing.T) {
		run(t, func(srv *running) {
			for pod, state := range map[string]statefulroute.PodState{"a": statefulroute.Draining, "b": statefulroute.Maintenance, "c": statefulroute.Draining} {
				if err := srv.SetOverride(t.Context(), "chat", pod, state); err != nil {
					t.Fatal(err)
				}
			}
			if err := srv.SetOverride(t.Context(), "chat", "c", statefulroute.Ready); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("second", func(t *testing.T) {
		run(t, func(srv *running) {
			if got := show(srv.Model()); got != "chat: a@1(draining) b@2(maintenance) c@3" {
				t.Errorf("after a restart: %s", got)
			}
			// A pod that leaves takes its order with it.
			srv.config(t, testPod("b", 2))
			orders, err := file.Load()
			if want := []Order{{"chat", "b", "maintenance"}}; err != nil || !slices.Equal(orders, want) {
				t.Errorf("kept %v, %v; want %v", orders, err, want)
			}
		})
	})
}

func TestDamagedOrdersAreSetAside(t *testing.T) {
	file := OrderFile{Path: filepath.Join(t.TempDir(), "orders.json")}
	if orders, err := file.Load(); err != nil || orders != nil {
		t.Errorf("no file: %v, %v", orders, err)
	}
	if err := os.WriteFile(file.Path, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Load(); err == nil {
		t.Error("a damaged file was accepted")
	}
	if raw, err := os.ReadFile(file.Path + ".damaged"); err != nil || string(raw) != "[{" {
		t.Errorf("set aside: %q, %v", raw, err)
	}
	if orders, err := file.Load(); err != nil || orders != nil {
		t.Errorf("after it was set aside: %v, %v", orders, err)
	}
	if err := NewDesk().Obey([]Order{{"chat", "a", "odd"}}); err == nil {
		t.Error("an unknown state was obeyed")
	}
}
