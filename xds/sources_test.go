package xds

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
)

// resolver answers look-ups by a function.
type resolver func(host string) ([]netip.Addr, error)

func (r resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return r(host)
}

func names(pods []statefulroute.Pod) string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

func TestAPodsFileIsFollowedAndABadOneKeepsTheLast(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pods.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	svc := testService("chat")
	svc.Pods.File = file
	services := []statefulroute.Service{svc}
	sources := &Sources{Logger: zap.NewNop()}
	if _, err := sources.Load(t.Context(), services); err == nil || !strings.Contains(err.Error(), `pods of service "chat"`) {
		t.Errorf("a missing file: %v", err)
	}
	write("- {name: a, address: '127.0.0.1:1'}\n")
	pods, err := sources.Load(t.Context(), services)
	if err != nil || names(pods["chat"]) != "a" {
		t.Fatalf("got %v, %v", pods, err)
	}
	var now atomic.Value
	now.Store("")
	follow(t, sources, services, func(_ string, pods []statefulroute.Pod) error { now.Store(names(pods)); return nil })
	await(t, "the first list", func() bool { return now.Load() == "a" })
	write("- {name: a, address: nowhere}\n")
	write("- {name: a, address: '127.0.0.1:1'}\n- {name: b, address: '127.0.0.1:2'}\n")
	await(t, "the second list", func() bool { return now.Load() == "a b" })
}

func TestDNSNamesPodsByAddressAndSurvivesFailures(t *testing.T) {
	var calls atomic.Int32
	sources := &Sources{Logger: zap.NewNop(), DNSInterval: time.Millisecond, Resolver: resolver(func(host string) ([]netip.Addr, error) {
		if host != "chat.internal" {
			return nil, fmt.Errorf("asked for %s", host)
		}
		if calls.Add(1) == 1 {
			return nil, errors.New("no answer")
		}
		return []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("::ffff:10.0.0.2"), netip.MustParseAddr("10.0.0.2")}, nil
	})}
	svc := testService("chat")
	svc.Pods.DNS = &statefulroute.DNSSource{Host: "chat.internal", Port: 80}
	services := []statefulroute.Service{svc}
	if pods, err := sources.Load(t.Context(), services); err != nil || pods["chat"] != nil {
		t.Errorf("a failed first look-up is not fatal: %v, %v", pods, err)
	}
	var now atomic.Value
	now.Store("")
	follow(t, sources, services, func(_ string, pods []statefulroute.Pod) error { now.Store(names(pods)); return nil })
	await(t, "the addresses", func() bool { return now.Load() == "10.0.0.2:80 [::1]:80" })
}

func follow(t *testing.T, s *Sources, services []statefulroute.Service, set func(string, []statefulroute.Pod) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx, services, set) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// One service's file is in a folder that is gone: the others are followed.
func TestOneBrokenSourceDoesNotEndTheOthers(t *testing.T) {
	dir := t.TempDir()
	broken, good := testService("broken"), testService("good")
	broken.Pods.File, good.Pods.File = filepath.Join(dir, "gone", "pods.yaml"), filepath.Join(dir, "pods.yaml")
	var now atomic.Value
	now.Store("")
	follow(t, &Sources{Logger: zap.NewNop()}, []statefulroute.Service{broken, good}, func(service string, pods []statefulroute.Pod) error {
		now.Store(service + ": " + names(pods))
		return nil
	})
	for _, pod := range []string{"a", "b"} {
		if err := os.WriteFile(good.Pods.File, []byte("- {name: "+pod+", address: '127.0.0.1:1'}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		await(t, "pod "+pod, func() bool { return now.Load() == "good: "+pod })
	}
}
