package xds

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/build"
	"github.com/stateful-route/stateful-route/xds/state"
)

// withModule is a client whose node asks for a module.
func (r *running) withModule(t *testing.T, protocol, node string, fields map[string]any) *client {
	t.Helper()
	c := r.client(t, protocol, "envoy")
	metadata, err := structpb.NewStruct(map[string]any{wire.Namespace: fields})
	if err != nil {
		t.Fatal(err)
	}
	c.node.Id, c.node.Metadata = node, metadata
	return c
}

func module(i int) map[string]any {
	return map[string]any{"module": fmt.Sprintf("/lib/%d.so", i), "table": "/dev/shm/table"}
}

// asks is which module is in the listeners of a push; empty: none.
func asks(p push) string {
	var found []byte
	for _, r := range p.resources {
		if i := bytes.Index(r.GetValue(), []byte("/lib/")); i >= 0 {
			found, _, _ = bytes.Cut(r.GetValue()[i:], []byte(".so"))
		}
	}
	return string(found)
}

// change has the listeners differ from before.
func (r *running) change(t *testing.T, hops uint32) {
	t.Helper()
	g := testGateway()
	g.TrustedHops = hops
	svc := testService("chat")
	svc.Pods.Static = []statefulroute.Pod{testPod("a", 1)}
	if err := r.SetConfig(t.Context(), g, []statefulroute.Service{svc}, nil); err != nil {
		t.Fatal(err)
	}
}

func (r *running) row(t *testing.T, node, kind string) ClientStatus {
	t.Helper()
	for _, row := range r.Clients() {
		if row.Node == node && row.Type == kind {
			return row
		}
	}
	t.Fatalf("no row of %s, %s: %+v", node, kind, r.Clients())
	return ClientStatus{}
}

// An Envoy gets the module that its node asks for, and nobody else does.
func TestWhoAsksForAModuleGetsIt(t *testing.T) {
	protocols(t, func(t *testing.T, protocol string) {
		srv := startServer(t, "a", time.Second)
		srv.config(t, testPod("a", 1))
		plain, one, two := srv.client(t, protocol, "envoy"), srv.withModule(t, protocol, "one", module(1)), srv.withModule(t, protocol, "two", module(2))
		var first push
		for c, want := range map[*client]string{plain: "", one: "/lib/1", two: "/lib/2"} {
			c.ask(resourcev3.ListenerType)
			p := c.next()
			if got := asks(p); got != want || len(p.resources) != 1 {
				t.Errorf("%s has %d listeners with the module %q, want %q", c.node.Id, len(p.resources), got, want)
			}
			if c == plain {
				first = p
			}
			c.answer(p, p.version, "")
			c.ask(resourcev3.ClusterType)
			clusters := c.next()
			c.answer(clusters, clusters.version, "")
		}
		built, err := build.Shared(srv.Model())
		if err != nil {
			t.Fatal(err)
		}
		e := newEntry("", "", built[resourcev3.ListenerType]["stateful-route 0.0.0.0:10000"])
		if raw, err := e.raw(); err != nil || !bytes.Equal(raw, first.resources[0].GetValue()) {
			t.Error("the listener of an Envoy that asks for no module is another one than without those that do")
		}
		await(t, "all to have answered", func() bool {
			return srv.row(t, "two", "lds").Path == "module" && srv.row(t, "one", "lds").Path == "module"
		})
		if row := srv.row(t, "test-envoy", "cds"); row.Path != "callout" || row.PathReason != "" {
			t.Errorf("without a module: %+v", row)
		}
		srv.change(t, 3)
		for c, want := range map[*client]string{plain: "", one: "/lib/1", two: "/lib/2"} {
			if p := c.next(); p.typeURL != resourcev3.ListenerType || asks(p) != want {
				t.Errorf("%s: after a change came %s with %q", c.node.Id, p.typeURL, asks(p))
			}
		}
	})
}

// A listener that is refused is replaced by one without the module, once.
func TestARefusedModuleIsTakenBack(t *testing.T) {
	protocols(t, func(t *testing.T, protocol string) {
		core, logs := observer.New(zap.WarnLevel)
		srv := startServerWith(t, Options{Logger: zap.New(core), Observer: &observed{}, Boot: "a"})
		srv.config(t, testPod("a", 1))
		envoy := srv.withModule(t, protocol, "old", module(1))
		envoy.ask(resourcev3.ListenerType)
		p := envoy.next()
		if asks(p) == "" {
			t.Fatal("no module")
		}
		envoy.answer(p, "", "Failed to load dynamic module")
		p = envoy.next()
		if len(p.resources) != 1 || asks(p) != "" {
			t.Fatalf("after the refusal: %d listeners, the module %q", len(p.resources), asks(p))
		}
		envoy.answer(p, p.version, "")
		// A second type's answer proves that nothing else of the first is sent.
		envoy.ask(resourcev3.ClusterType)
		if p := envoy.next(); p.typeURL != resourcev3.ClusterType {
			t.Fatalf("after what it has taken came %s again", p.typeURL)
		}
		row := srv.row(t, "old", "lds")
		if row.Status != "ack" || row.Path != "callout" || !strings.Contains(row.PathReason, "Failed to load dynamic module") {
			t.Errorf("its row: %+v", row)
		}
		if n := logs.FilterMessageSnippet("without it").Len(); n != 1 {
			t.Errorf("said %d times: %v", n, logs.All())
		}
		if got := srv.observed.nacked(); len(got) != 1 {
			t.Errorf("nacks counted: %v", got)
		}
		srv.change(t, 3)
		if p := envoy.next(); p.typeURL != resourcev3.ListenerType || asks(p) != "" {
			t.Errorf("after a change came %s with the module %q", p.typeURL, asks(p))
		}
		// It may have the module by the time that it comes back.
		again := srv.withModule(t, protocol, "new", module(1))
		again.ask(resourcev3.ListenerType)
		if p := again.next(); asks(p) == "" {
			t.Error("another Envoy is not given the module")
		}
	})
}

// One that refuses the listener without the module, too, is left in peace.
func TestAListenerThatIsBadInAnyVariantIsHeldBack(t *testing.T) {
	protocols(t, func(t *testing.T, protocol string) {
		srv := startServer(t, "a", time.Second)
		srv.config(t, testPod("a", 1))
		envoy := srv.withModule(t, protocol, "busy", module(1))
		envoy.ask(resourcev3.ListenerType)
		envoy.answer(envoy.next(), "", "address in use")
		envoy.answer(envoy.next(), "", "address in use")
		envoy.ask(resourcev3.ClusterType)
		if p := envoy.next(); p.typeURL != resourcev3.ClusterType {
			t.Fatalf("after two refusals came %s again", p.typeURL)
		}
		if row := srv.row(t, "busy", "lds"); row.Status != "nack" {
			t.Errorf("its row: %+v", row)
		}
	})
}

// What a node says badly, or one too many, is no reason to be given nothing.
func TestWhoCannotBeGivenAModuleIsToldWhy(t *testing.T) {
	srv := startServer(t, "a", time.Second)
	srv.config(t, testPod("a", 1))
	take := func(node string, fields map[string]any) (path ClientStatus, has string) {
		c := srv.withModule(t, "delta", node, fields)
		c.ask(resourcev3.ListenerType)
		p := c.next()
		c.answer(p, p.version, "")
		await(t, "its answer", func() bool { return srv.row(t, node, "lds").Status == "ack" })
		return srv.row(t, node, "lds"), asks(p)
	}
	for node, fields := range map[string]map[string]any{
		"relative": {"module": "lib/1.so", "table": "/dev/shm/table"},
		"no table": {"module": "/lib/1.so"},
		"number":   {"module": 7, "table": "/dev/shm/table"},
	} {
		if row, has := take(node, fields); has != "" || row.Path != "callout" || !strings.Contains(row.PathReason, "is not an absolute path") {
			t.Errorf("%s: has %q, %+v", node, has, row)
		}
	}
	for i := range maxVariants {
		if row, has := take(fmt.Sprint(i), module(i)); has == "" || row.Path != "module" {
			t.Fatalf("%d: has %q, %+v", i, has, row)
		}
	}
	if row, has := take("known", module(3)); has != "/lib/3" || row.Path != "module" {
		t.Errorf("a module that others have: has %q, %+v", has, row)
	}
	if row, has := take("beyond", module(maxVariants)); has != "" || row.Path != "callout" || !strings.Contains(row.PathReason, "more than 16") {
		t.Errorf("beyond the bound: has %q, %+v", has, row)
	}
}

// A variant is built when the first Envoy asks for it and when it may have changed, however
// many have it, and is gone with the last.
func TestAVariantIsBuiltOnce(t *testing.T) {
	l := newLibrary(t, protocolDelta)
	var built []string
	l.caches.variants.build = func(m state.Model, v variant) (build.Resources, error) {
		built = append(built, v.Module)
		return buildVariant(m, v)
	}
	publish := func(seq uint64) {
		ch, m := newChanges(), testModel(testPod("a", 1))
		m.Gateway.TrustedHops = uint32(seq)
		ch.listeners = &m
		l.caches.publish(wire.Envoy, seq, ch)
	}
	publish(1)
	metadata, err := structpb.NewStruct(map[string]any{wire.Namespace: module(1)})
	if err != nil {
		t.Fatal(err)
	}
	for id := range int64(3) {
		l.key = streamKey{protocolDelta, 1 + id}
		l.clients.open(l.key)
		l.askListeners(metadata)
	}
	if len(built) != 1 {
		t.Errorf("built for three Envoys: %v", built)
	}
	if publish(2); len(built) != 2 {
		t.Errorf("built after a change: %v", built)
	}
	for id := range int64(3) {
		if n := len(l.caches.variants.tables); n != 1 {
			t.Errorf("%d variants are kept while Envoys have one", n)
		}
		l.clients.close(streamKey{protocolDelta, 1 + id})
	}
	if n := len(l.caches.variants.tables); n != 0 {
		t.Errorf("%d variants are kept that nobody has", n)
	}
}
