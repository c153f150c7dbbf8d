package xds

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	subscriptionv3 "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stateful-route/stateful-route/wire"
)

// library stands for one stream of the library's server, whose steps a test takes
// one by one.
type library struct {
	t       *testing.T
	clients *clients
	caches  *caches
	key     streamKey
	sotw    chan cachev3.Response
	delta   chan cachev3.DeltaResponse
	sub     subscriptionv3.Subscription
	nonce   int
}

func newLibrary(t *testing.T, protocol string, names ...string) *library {
	l := &library{
		t: t, clients: newClients(&observed{}, func(ClientStatus) {}, time.Second), key: streamKey{protocol, 1},
		sotw: make(chan cachev3.Response, 10), delta: make(chan cachev3.DeltaResponse, 20),
	}
	l.caches = newCaches("a-", l.clients, zap.NewNop())
	l.clients.sequence, l.clients.left = l.caches.sequence, l.caches.forget
	l.sub = subscriptionv3.NewSotwSubscription(names, true)
	l.clients.open(l.key)
	return l
}

func (l *library) publish(seq uint64, names ...string) {
	ch := newChanges()
	for _, name := range names {
		ch.set[resourcev3.EndpointType][name] = &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{Priority: uint32(seq)}}}
	}
	l.caches.publish(wire.Envoy, seq, ch)
}

// ask is a request, which is an answer once something was sent.
func (l *library) ask(version string) {
	l.t.Helper()
	nonce := ""
	if l.nonce > 0 {
		nonce = string(rune('a' + l.nonce))
	}
	var err error
	node := &corev3.Node{Id: "a"}
	if l.key.protocol == protocolSotw {
		for len(l.sotw) > 0 { // what was not sent is thrown away
			<-l.sotw
		}
		req := &cachev3.Request{Node: node, TypeUrl: resourcev3.EndpointType, VersionInfo: version}
		l.clients.request(l.key, req, node, req.TypeUrl, nonce, nil)
		_, err = l.caches.CreateWatch(req, l.sub, l.sotw)
	} else {
		req := &cachev3.DeltaRequest{Node: node, TypeUrl: resourcev3.EndpointType}
		l.clients.request(l.key, req, node, req.TypeUrl, nonce, nil)
		_, err = l.caches.CreateDeltaWatch(req, l.sub, l.delta)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// askListeners is the first request for listeners of a node with the metadata.
func (l *library) askListeners(metadata *structpb.Struct) {
	l.t.Helper()
	node := &corev3.Node{Id: "a", Metadata: metadata}
	req := &cachev3.DeltaRequest{Node: node, TypeUrl: resourcev3.ListenerType}
	l.clients.request(l.key, req, node, req.TypeUrl, "", nil)
	if _, err := l.caches.CreateDeltaWatch(req, l.sub, l.delta); err != nil {
		l.t.Fatal(err)
	}
}

// send sends the next response and returns the resources in it, and its version;
// nothing when there is none.
func (l *library) send() (names []string, version string) {
	l.t.Helper()
	l.nonce++
	nonce := string(rune('a' + l.nonce))
	select {
	case r := <-l.sotw:
		resp, err := r.GetDiscoveryResponse()
		if err != nil {
			l.t.Fatal(err)
		}
		for name := range r.GetReturnedResources() {
			names = append(names, name)
		}
		l.clients.response(l.key, resp.TypeUrl, nonce, resp.VersionInfo)
		slices.Sort(names)
		return names, resp.VersionInfo
	case r := <-l.delta:
		resp, err := r.GetDeltaDiscoveryResponse()
		if err != nil {
			l.t.Fatal(err)
		}
		l.sub.SetReturnedResources(r.GetReturnedResources())
		for _, res := range resp.Resources {
			names = append(names, res.Name)
		}
		l.clients.response(l.key, resp.TypeUrl, nonce, resp.SystemVersionInfo)
		slices.Sort(names)
		return names, resp.SystemVersionInfo
	default:
		l.nonce--
		return nil, ""
	}
}

func (l *library) through() uint64 { return l.clients.progress(time.Now(), wire.Envoy).Acked }

// How far a stream is, from one publication to the next answer.
func TestHowFarAStreamIs(t *testing.T) {
	for _, protocol := range []string{protocolDelta, protocolSotw} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLibrary(t, protocol, "x", "y")
				want := func(when string, through uint64) {
					t.Helper()
					if got := l.through(); got != through {
						t.Errorf("%s it is through %d, want %d", when, got, through)
					}
				}
				l.publish(1, "x", "y")
				want("before it asked", AllAcked)
				l.ask("")
				want("with an answer on its way", 0)
				_, version := l.send()
				l.publish(2, "x")
				want("not having answered", 0)
				l.ask(version)
				want("with what it missed on its way", 1)
				names, version := l.send()
				if version != "a-2" || !slices.Contains(names, "x") {
					t.Errorf("it was sent %v at %s", names, version)
				}
				l.ask(version)
				want("owing nothing", AllAcked)
				l.publish(3, "other")
				want("of what it did not ask for", AllAcked)
				l.publish(7, "y")
				want("having answered all before", 6)
				time.Sleep(time.Second)
				want("lagging", AllAcked)
				l.publish(8, "x")
				_, version = l.send()
				l.ask(version)
				want("back, and behind", 7)
				_, version = l.send()
				l.ask(version)
				want("back", AllAcked)
			})
		})
	}
}

// The library throws a response away that it has not sent when the client asks
// again: what was in it comes with the next one.
func TestWhatTheLibraryThrowsAwayIsSentAgain(t *testing.T) {
	l := newLibrary(t, protocolSotw, "x", "y")
	l.publish(1, "x", "y")
	l.ask("")
	_, version := l.send()
	l.ask(version)
	l.publish(2, "y") // on its way
	l.ask(version)    // and thrown away
	if names, version := l.send(); version != "a-2" || !slices.Contains(names, "y") {
		t.Errorf("it was sent %v at %q", names, version)
	}
	if l.ask("a-2"); l.through() != AllAcked {
		t.Errorf("having answered it is through %d", l.through())
	}
}

// What is kept for a client that does not answer is names, however much changes.
func TestLittleIsKeptForAClientThatDoesNotAnswer(t *testing.T) {
	l := newLibrary(t, protocolDelta, "x", "y")
	l.publish(1, "x", "y")
	l.ask("")
	l.send()
	for i := range uint64(1000) {
		l.publish(2+i, "x", "y")
	}
	if s := l.clients.streams[l.key].subscribers[resourcev3.EndpointType]; len(s.missed) != 2 || len(l.delta) != 0 {
		t.Errorf("kept: %d names and %d responses", len(s.missed), len(l.delta))
	}
	l.clients.close(l.key)
	for _, table := range l.caches.tables {
		if len(table.byName)+len(table.all) > 0 {
			t.Errorf("a stream that is gone is kept: %v", table.byName)
		}
	}
}
