package reference

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// proxy sends each request to its session's pod.
type proxy struct {
	table   *table
	spoil   Spoil
	n       atomic.Int64
	reverse *httputil.ReverseProxy
	http1   *http.Transport
	http2   *http.Transport
	copies  sync.WaitGroup // of request bodies of streams
}

// target is the pod of a request, in its context.
type target struct{}

func newProxy(t *table, spoil Spoil) *proxy {
	p := &proxy{table: t, spoil: spoil, http1: &http.Transport{MaxIdleConnsPerHost: 256}, http2: &http.Transport{Protocols: new(http.Protocols)}}
	p.http2.Protocols.SetUnencryptedHTTP2(true)
	p.reverse = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			address, _ := r.In.Context().Value(target{}).(string)
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			if spoil.Outgoing != nil {
				spoil.Outgoing(r.Out.Header)
			}
		},
		Transport:     p,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // faults are what it is for
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			refuse(w, http.StatusBadGateway, "pod-unreachable")
		},
	}
	return p
}

// RoundTrip speaks to the pod as the client spoke to the proxy.
func (p *proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Content-Type") != "application/grpc" {
		return p.http1.RoundTrip(r)
	}
	// ReverseProxy gives a body whose Close does nothing: a transport that waits for
	// more of it would not notice the pod's end.
	in, out := io.Pipe()
	p.copies.Go(func() { // until the handler returns, which ends the client's body
		_, err := io.Copy(out, r.Body)
		_ = out.CloseWithError(err)
	})
	stream := r.Clone(r.Context())
	stream.Body = in
	return p.http2.RoundTrip(stream)
}

func refuse(w http.ResponseWriter, status int, reason string) {
	if reason != "" {
		w.Header().Set(reasonHeader, reason)
	}
	w.WriteHeader(status)
}

// ServeHTTP serves one request.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	session := r.Header.Get(keyHeader)
	if p.spoil.Instead != nil {
		if name, able := p.table.was(session); p.spoil.Instead(w, r, name, able) {
			return
		}
	}
	pod, able := p.table.owner(session)
	if !able {
		refuse(w, http.StatusServiceUnavailable, "no-pod")
		return
	}
	if p.spoil.Route != nil {
		pod = p.another(pod)
	}
	p.reverse.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), target{}, pod.Address)))
}

func (p *proxy) another(right gateway.Pod) gateway.Pod {
	addresses := map[string]gateway.Pod{}
	var names []string
	for _, pod := range p.table.all() {
		addresses[pod.Name] = pod
		names = append(names, pod.Name)
	}
	return addresses[p.spoil.Route(p.n.Add(1), right.Name, names)]
}

// front is one gateway: a listener whose connections end with it, also those that
// HTTP has let go of.
type front struct {
	proxy   http.Handler
	address string

	mu     sync.Mutex
	server *http.Server
	conns  map[net.Conn]bool
	serves sync.WaitGroup
}

func newFront(p http.Handler) (*front, error) {
	address, err := gateway.FreeAddress()
	if err != nil {
		return nil, err
	}
	f := &front{proxy: p, address: address}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *front) open() error {
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = map[net.Conn]bool{}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: f.proxy, Protocols: protocols, ConnState: f.note, MaxHeaderBytes: 64 << 10, ReadHeaderTimeout: time.Minute}
	f.server = server
	f.serves.Go(func() { _ = server.Serve(l) }) // until it is closed
	return nil
}

func (f *front) note(c net.Conn, state http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch state {
	case http.StateNew:
		f.conns[c] = true
	case http.StateClosed:
		delete(f.conns, c)
	}
}

// close ends the listener and every connection at once, as a kill does.
func (f *front) close() {
	f.mu.Lock()
	server, conns := f.server, f.conns
	f.conns = map[net.Conn]bool{}
	f.mu.Unlock()
	if server == nil {
		return
	}
	_ = server.Close()
	for c := range conns {
		_ = c.Close()
	}
	f.serves.Wait()
}
