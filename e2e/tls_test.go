package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/internal/testtls"
)

// tlsPod is a pod that speaks TLS only and says how it was asked. To …/stream?0, and 1, it
// writes the lines that it is told to; what it is asked for …/close is asked on that
// connection for the last time.
type tlsPod struct {
	address    string
	handshakes atomic.Int64
	lines      [2]chan string

	mu  sync.Mutex
	cfg *tls.Config // of handshakes to come
}

// toldByPod is how a pod was asked.
type toldByPod struct {
	Pod, Proto, Name, Client, Forwarded string
}

func newTLSPod(t *testing.T, name string, cfg *tls.Config) *tlsPod {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tlsPod{address: l.Addr().String(), lines: [2]chan string{make(chan string), make(chan string)}, cfg: cfg}
	server := &http.Server{
		ReadHeaderTimeout: harness.Patience, ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.answer(name, w, r) }),
		TLSConfig: &tls.Config{NextProtos: cfg.NextProtos, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			p.handshakes.Add(1)
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.cfg, nil
		}},
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return p
}

func (p *tlsPod) answer(name string, w http.ResponseWriter, r *http.Request) {
	switch path.Base(r.URL.Path) {
	case "stream":
		lines := p.lines[0]
		if r.URL.RawQuery == "1" {
			lines = p.lines[1]
		}
		for {
			_ = http.NewResponseController(w).Flush() // a client that is gone ends the request
			select {
			case line := <-lines:
				fmt.Fprintln(w, line)
			case <-r.Context().Done():
				return
			}
		}
	case "close":
		w.Header().Set("Connection", "close")
	}
	told := toldByPod{Pod: name, Proto: r.Proto, Name: r.TLS.ServerName, Forwarded: r.Header.Get("x-forwarded-proto")}
	if len(r.TLS.PeerCertificates) > 0 {
		told.Client = r.TLS.PeerCertificates[0].SerialNumber.String()
	}
	_ = json.NewEncoder(w).Encode(told) // to a client that may be gone
}

func (p *tlsPod) use(cfg *tls.Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg = cfg
}

// of is what a pod of the authority shows, for a name, and whom it believes.
func of(ca *testtls.Authority, name string, alpn ...string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{ca.Pair(testtls.Leaf{Hosts: []string{name}})}, NextProtos: alpn,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MinVersion: tls.VersionTLS12,
	}
}

// tlsService has TLS pods under a path of the service's name.
func tlsService(name string, tls map[string]string, pods ...*tlsPod) harness.Service {
	svc := harness.Chat(0)
	svc.Name, svc.Match, svc.TLS = name, map[string]any{"prefix": "/" + name}, tls
	svc.Session.Key = []map[string]any{{"header": "x-session-id"}}
	svc.HealthCheck = map[string]any{"http": "/", "interval": "1s", "timeout": "1s", "unhealthy_after": 5} // a busy machine is no bad pod
	for i, p := range pods {
		svc.Pods.Static = append(svc.Pods.Static, harness.Pod{Name: fmt.Sprintf("%s-%d", name, i), Address: p.address})
	}
	return svc
}

// tell asks for a path of a session; the status is that of an answer that is no pod's.
func tell(t *testing.T, client http.RoundTripper, url, session string) (told toldByPod, status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-session-id", session)
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body) // for the log alone
		t.Logf("%s: %s", resp.Status, body)
		return told, resp.StatusCode
	}
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil {
		t.Fatal(err)
	}
	return told, resp.StatusCode
}

func newTransport(t *testing.T) *http.Transport {
	tr := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// Sessions stick to pods behind TLS, which are asked in their protocol and shown our
// certificate, on connections that are used again.
func TestSessionsStickToPodsBehindTLS(t *testing.T) {
	t.Parallel()
	ca, dir := testtls.NewAuthority(t), t.TempDir()
	cert, key := ca.Write(dir, "client", testtls.Leaf{})
	mutual := map[string]string{"ca": ca.WriteCA(dir, "ca"), "sni": "chat.internal", "cert": cert, "key": key}
	want := map[string]string{"http1": "HTTP/1.1", "http2": "HTTP/2.0", "auto-old": "HTTP/1.1", "auto": "HTTP/2.0"}
	alpn := map[string][]string{"http1": {"h2", "http/1.1"}, "http2": {"h2", "http/1.1"}, "auto-old": {"http/1.1"}, "auto": {"h2", "http/1.1"}}
	services, pods := []harness.Service{harness.Chat(1)}, map[string][]*tlsPod{}
	for name := range want {
		// One pod's certificate is for the name, the other's for all of that form.
		pods[name] = []*tlsPod{newTLSPod(t, name+"-0", of(ca, "chat.internal", alpn[name]...)), newTLSPod(t, name+"-1", of(ca, "*.internal", alpn[name]...))}
		svc := tlsService(name, mutual, pods[name]...)
		svc.Protocol, _, _ = strings.Cut(name, "-")
		services = append(services, svc)
	}
	s := start(t, harness.Options{Services: services})
	client := newTransport(t)
	const sessions, times = 12, 10
	for name, proto := range want {
		url, seen := s.URL+name, map[string]bool{}
		harness.Eventually(t, harness.Patience, name+" is healthy", healthy(s, name, 2))
		s.WaitClients(t)
		for _, p := range pods[name] {
			p.handshakes.Store(0)
		}
		begun := time.Now()
		for i := range sessions {
			first, status := tell(t, client, url, fmt.Sprint("s", i))
			for range times {
				if told, _ := tell(t, client, url, fmt.Sprint("s", i)); told != first {
					t.Errorf("%s: session %d was answered as %+v, then as %+v", name, i, first, told)
				}
			}
			if status != http.StatusOK || first.Proto != proto || first.Name != "chat.internal" || first.Client == "" {
				t.Errorf("%s: status %d, %+v", name, status, first)
			}
			seen[first.Pod] = true
		}
		if len(seen) != 2 {
			t.Errorf("%s: all sessions are at %v", name, seen)
		}
		made := pods[name][0].handshakes.Load() + pods[name][1].handshakes.Load()
		probes := int64(2 * (time.Since(begun)/time.Second + 2))
		if requests := int64(sessions * (times + 1)); made-probes > requests/4 {
			t.Errorf("%s: %d handshakes, of which %d are probes', for %d requests", name, made, probes, requests)
		}
	}
}

// healthy is a check for Eventually: so many pods of a service are ready, in the control
// plane and in Envoy.
func healthy(s *harness.Stack, service string, want int) func() error {
	return func() error {
		health, err := s.EnvoyHealth(service)
		if err != nil {
			return err
		}
		n := 0
		for _, h := range health {
			if h == "HEALTHY" {
				n++
			}
		}
		if n != want {
			return fmt.Errorf("%w: %v", errNotYet, health)
		}
		return nil
	}
}

// gRPC pods behind TLS, asked for their health by gRPC, through a listener with TLS.
func TestGRPCThroughTLS(t *testing.T) {
	t.Parallel()
	ca, dir := testtls.NewAuthority(t), t.TempDir()
	cert, key := ca.Write(dir, "client", testtls.Leaf{})
	front, frontKey := ca.Write(dir, "front", testtls.Leaf{Hosts: []string{"rooms.example.com"}})
	svc := harness.Chat(2)
	svc.Name, svc.Match = "rooms", map[string]any{"prefix": "/rooms.Rooms"}
	svc.TLS = map[string]string{"ca": ca.WriteCA(dir, "ca"), "cert": cert, "key": key}
	svc.HealthCheck = map[string]any{"grpc": "", "host": "rooms.internal", "interval": "1s", "timeout": "1s", "unhealthy_after": 5} // a busy machine is no bad pod
	svc.Balancing = map[string]any{"strategy": "round_robin"}
	for i := range svc.Pods.Static {
		pod := &svc.Pods.Static[i]
		pod.Name = fmt.Sprintf("rooms-%d", i)
		pod.Address, _ = grpcPod(t, pod.Name, grpc.Creds(credentials.NewTLS(of(ca, "rooms.internal"))))
	}
	s := start(t, harness.Options{Services: []harness.Service{harness.Chat(1), svc}, Certificates: []harness.Certificate{{Cert: front, Key: frontKey}}})
	harness.Eventually(t, harness.Patience, "the pods are healthy", healthy(s, "rooms", 2))
	pods := map[string]bool{}
	for plain, creds := range map[bool]credentials.TransportCredentials{
		true:  insecure.NewCredentials(),
		false: credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "rooms.example.com", MinVersion: tls.VersionTLS12}),
	} {
		at := s.TLSAddress
		if plain {
			at = strings.Trim(strings.TrimPrefix(s.URL, "http:"), "/")
		}
		client, err := grpc.NewClient(at, grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		for i := range 8 {
			session := fmt.Sprint("s", i)
			called, err := call(t, client, session, "hello")
			if err != nil || called == "" || called != chat(t, client, session) {
				t.Errorf("session %s: called at %q, %v", session, called, err)
			}
			pods[called] = true
		}
	}
	if len(pods) != 2 {
		t.Errorf("all sessions are at %v", pods)
	}
}

// A server that is no pod, for its certificate is another authority's or for another name,
// and one that refuses ours, get no request, and health checks find them.
func TestPodsThatCannotProveThemselves(t *testing.T) {
	t.Parallel()
	ca, other, dir := testtls.NewAuthority(t), testtls.NewAuthority(t), t.TempDir()
	cert, key := ca.Write(dir, "client", testtls.Leaf{})
	mutual := map[string]string{"ca": ca.WriteCA(dir, "ca"), "sni": "chat.internal", "cert": cert, "key": key}
	strict := of(ca, "chat.internal")
	strict.ClientCAs = other.Pool()
	strangers := map[string]*tls.Config{"authority": of(other, "chat.internal"), "name": of(ca, "other.internal"), "client": strict}
	services := []harness.Service{harness.Chat(1)}
	for name, cfg := range strangers {
		// Alone, and not asked for their health, they are all that there is.
		alone := tlsService(name, mutual, newTLSPod(t, name, cfg))
		alone.HealthCheck = map[string]any{"none": true}
		services = append(services, alone)
		for _, check := range []string{"tcp", "http"} {
			if check == "tcp" && name == "client" {
				continue // says so only after the handshake
			}
			beside := tlsService(name+"-"+check, mutual, newTLSPod(t, "good", of(ca, "chat.internal")), newTLSPod(t, "stranger", cfg))
			beside.HealthCheck = map[string]any{check: map[string]any{"tcp": true, "http": "/"}[check], "interval": "200ms", "timeout": "200ms"}
			services = append(services, beside)
		}
	}
	s := start(t, harness.Options{Services: services})
	client := newTransport(t)
	for _, svc := range services[1:] {
		if len(svc.Pods.Static) == 1 {
			if told, status := tell(t, client, s.URL+svc.Name, "alice"); status != http.StatusServiceUnavailable {
				t.Errorf("%s: %d, %+v", svc.Name, status, told)
			}
			continue
		}
		harness.Eventually(t, harness.Patience, svc.Name+": the stranger is found", s.InState(svc.Name, svc.Name+"-1", "unhealthy"))
		harness.Eventually(t, harness.Patience, svc.Name+": Envoy has only the good pod", healthy(s, svc.Name, 1))
		s.WaitClients(t)
		for i := range 10 {
			if told, status := tell(t, client, s.URL+svc.Name, fmt.Sprint("s", i)); status != http.StatusOK || told.Pod != "good" {
				t.Errorf("%s: %d, %+v", svc.Name, status, told)
			}
		}
	}
}

// shown is what a client of a listener is shown.
func shown(t *testing.T, address string, ca *testtls.Authority, name string, alpn ...string) tls.ConnectionState {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: name, NextProtos: alpn, InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("%q: %v", name, err)
	}
	defer func() { _ = conn.Close() }()
	state := conn.ConnectionState()
	if _, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: ca.Pool()}); err != nil {
		t.Errorf("%q: %v", name, err)
	}
	return state
}

// overTLS is a client of the listener for a name, which says what it speaks.
//
//nolint:staticcheck // net/http's own transport has no extended CONNECT (RFC 8441)
func overTLS(t *testing.T, s *harness.Stack, ca *testtls.Authority, name string, h2 bool) http.RoundTripper {
	t.Helper()
	cfg := &tls.Config{RootCAs: ca.Pool(), ServerName: name, MinVersion: tls.VersionTLS12}
	if !h2 {
		tr := newTransport(t)
		tr.TLSClientConfig = cfg
		tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.TLSAddress)
		}
		return tr
	}
	cfg.NextProtos = []string{"h2"}
	tr := &http2.Transport{DialTLSContext: func(ctx context.Context, network, _ string, _ *tls.Config) (net.Conn, error) {
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, network, s.TLSAddress)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// A client is shown the certificate of the name that it asks for, speaks the version of
// HTTP that it wants, and is served whatever host it then names.
func TestListenersWithTLS(t *testing.T) {
	t.Parallel()
	ca, dir := testtls.NewAuthority(t), t.TempDir()
	certificate := func(name string, hosts ...string) harness.Certificate {
		cert, key := ca.Write(dir, name, testtls.Leaf{Hosts: hosts})
		return harness.Certificate{Hosts: hosts, Cert: cert, Key: key}
	}
	rest := certificate("rest", "rest.test")
	rest.Hosts = nil
	svc := echoService(t, "rest", "*")
	svc.Session.Issue = map[string]string{"cookie": "sid", "ttl": "1h"}
	s := start(t, harness.Options{
		Services:     []harness.Service{svc, echoService(t, "chat", "chat.test"), echoService(t, "wide", "*.chat.test")},
		Certificates: []harness.Certificate{certificate("chat", "chat.test"), rest, certificate("wide", "*.chat.test", "wide.test")},
	})
	for name, want := range map[string]string{
		"chat.test": "chat.test", "CHAT.test": "chat.test", "a.chat.test": "*.chat.test", "wide.test": "*.chat.test",
		"other.test": "rest.test", "": "rest.test", "127.0.0.1": "rest.test",
	} {
		for _, alpn := range [][]string{{"h2", "http/1.1"}, {"http/1.1"}, nil} {
			state := shown(t, s.TLSAddress, ca, name, alpn...)
			spoken := ""
			if len(alpn) > 0 {
				spoken = alpn[0]
			}
			if got := state.PeerCertificates[0].DNSNames[0]; got != want || state.NegotiatedProtocol != spoken || state.Version != tls.VersionTLS13 {
				t.Errorf("%q: shown %s, spoken %q by TLS %x; want %s and %q", name, got, state.NegotiatedProtocol, state.Version, want, spoken)
			}
		}
	}
	for version, good := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true} {
		conn, err := tls.Dial("tcp", s.TLSAddress, &tls.Config{ServerName: "chat.test", RootCAs: ca.Pool(), MinVersion: version, MaxVersion: version})
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != good {
			t.Errorf("TLS %x: %v", version, err)
		}
	}
	pods := map[string]bool{}
	for h2, proto := range map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"} {
		client := overTLS(t, s, ca, "chat.test", h2)
		// Browsers use a connection for all hosts that its certificate is for, be it routed
		// elsewhere: each host of these is another service's.
		for host, prefix := range map[string]string{"chat.test": "chat-", "a.chat.test": "wide-", "else.test": "rest-"} {
			req, err := http.NewRequest(http.MethodGet, "https://"+host+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("x-session-id", "alice")
			resp, err := client.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			var saw seen
			if err := json.NewDecoder(resp.Body).Decode(&saw); err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.Proto != proto || !strings.HasPrefix(saw.Pod, prefix) || saw.Headers.Get("x-forwarded-proto") != "https" {
				t.Errorf("%s, %s: pod %q, by %s, x-forwarded-proto %q", host, proto, saw.Pod, resp.Proto, saw.Headers.Get("x-forwarded-proto"))
			}
			pods[saw.Pod] = true
		}
		req, err := http.NewRequest(http.MethodGet, "https://else.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if c := resp.Cookies(); len(c) != 1 || !c[0].Secure {
			t.Errorf("the cookie of a client that came by TLS: %v", c)
		}
	}
	if len(pods) != 3 {
		t.Errorf("one session of three services was at %v", pods)
	}
	resp, _, saw := ask(t, s, "GET / HTTP/1.1\r\nHost: else.test") //nolint:bodyclose // ask closes it
	if c := resp.Cookies(); len(c) != 1 || c[0].Secure || saw.Headers.Get("x-forwarded-proto") != "http" {
		t.Errorf("without TLS: cookies %v, x-forwarded-proto %q", c, saw.Headers.Get("x-forwarded-proto"))
	}
	webSocketOverTLS(t, s, overTLS(t, s, ca, "chat.test", true))
}

// webSocketOverTLS opens a WebSocket by HTTP/2 (RFC 8441).
func webSocketOverTLS(t *testing.T, s *harness.Stack, client http.RoundTripper) {
	t.Helper()
	sends, body := net.Pipe()
	t.Cleanup(func() { _ = sends.Close() })
	req, err := http.NewRequest(http.MethodConnect, "https://chat.test/", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(":protocol", "websocket")
	req.Header.Set("x-session-id", "alice")
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	_, _, want := ask(t, s, "GET / HTTP/1.1\r\nHost: chat.test\r\nx-session-id: alice") //nolint:bodyclose // ask closes it
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Pod") != want.Pod {
		t.Fatalf("status %d, pod %q, want %q", resp.StatusCode, resp.Header.Get("X-Pod"), want.Pod)
	}
	echoes(t, struct {
		io.Reader
		io.Writer
	}{resp.Body, sends}, func() error { return nil })
}

// A renewed certificate, of the listener, of a client of pods, of pods with their
// authority, is in force for new connections; of those that there are none ends, and
// Envoy has no new listener nor cluster. A bad file changes nothing.
func TestARenewedCertificateEndsNoConnection(t *testing.T) {
	t.Parallel()
	for _, variant := range []bool{false, true} {
		t.Run(map[bool]string{false: "delta", true: "sotw"}[variant], func(t *testing.T) {
			t.Parallel()
			renewal(t, variant)
		})
	}
}

func renewal(t *testing.T, stateOfTheWorld bool) {
	ca, dir := testtls.NewAuthority(t), t.TempDir()
	leaf := testtls.Leaf{Hosts: []string{"front.test"}}
	front, frontKey := ca.Write(dir, "front", leaf)
	client, clientKey := ca.Write(dir, "client", testtls.Leaf{})
	authority := ca.WriteCA(dir, "ca")
	pod := newTLSPod(t, "pod", of(ca, "chat.internal", "http/1.1"))
	svc := tlsService("secure", map[string]string{"ca": authority, "sni": "chat.internal", "cert": client, "key": clientKey}, pod)
	s := start(t, harness.Options{
		Services: []harness.Service{harness.Chat(1), svc}, Certificates: []harness.Certificate{{Hosts: leaf.Hosts, Cert: front, Key: frontKey}},
		StateOfTheWorld: stateOfTheWorld,
	})
	harness.Eventually(t, harness.Patience, "the pod is healthy", healthy(s, "secure", 1))
	var streams [2]*bufio.Reader
	for i, h2 := range []bool{false, true} {
		streams[i] = openStream(t, overTLS(t, s, ca, "front.test", h2), i)
	}
	goesOn := func(when string) {
		t.Helper()
		for i, stream := range streams {
			select {
			case pod.lines[i] <- when:
			case <-time.After(harness.Patience):
				t.Fatalf("%s: stream %d has ended at the pod", when, i)
			}
			if got, err := stream.ReadString('\n'); err != nil || got != when+"\n" {
				t.Fatalf("%s: stream %d brought %q, %v", when, i, got, err)
			}
		}
	}
	before := envoyCounts(t, s)
	serial := func() string {
		return shown(t, s.TLSAddress, ca, "front.test").PeerCertificates[0].SerialNumber.String()
	}
	// asked is how the pod is asked on a new connection.
	plain := newTransport(t)
	asked := func() toldByPod {
		for range 2 { // the first ends the connection that there was
			if _, status := tell(t, plain, s.URL+"secure/close", "alice"); status != http.StatusOK {
				return toldByPod{}
			}
		}
		told, _ := tell(t, plain, s.URL+"secure", "alice")
		return told
	}
	firstFront, firstClient := serial(), asked().Client
	ca.Write(dir, "front", leaf)
	took := harness.Eventually(t, harness.Patience, "new clients are shown the new certificate", until(func() bool { return serial() != firstFront }))
	t.Logf("new clients were shown the new certificate after %v", took.Round(time.Millisecond))
	goesOn("front")
	ca.Write(dir, "client", testtls.Leaf{})
	harness.Eventually(t, harness.Patience, "the pod is shown the new certificate", until(func() bool { return asked().Client != firstClient }))
	goesOn("client")
	// Another authority: first it is believed, then its certificates are shown.
	next := testtls.NewAuthority(t)
	replaceFile(t, authority, string(ca.PEM())+string(next.PEM()))
	pod.use(&tls.Config{Certificates: of(next, "chat.internal").Certificates, NextProtos: []string{"http/1.1"}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()})
	harness.Eventually(t, harness.Patience, "the pod's new authority is believed", until(func() bool { return asked().Client != "" }))
	goesOn("authority")
	if after := envoyCounts(t, s); after != before {
		t.Errorf("Envoy has changed more than its secrets: %s, before %s", after, before)
	}
	good := serial()
	replaceFile(t, front, "nothing")
	harness.Eventually(t, harness.Patience, "the bad file is reported", until(func() bool {
		degraded, err := harness.Body(s.XDSAdmin + "/readyz")
		return err == nil && strings.Contains(degraded, "front.pem holds no PEM")
	}))
	if now := serial(); now != good {
		t.Errorf("a bad file has replaced certificate %s by %s", good, now)
	}
	goesOn("bad")
	s.WaitClients(t)
}

func until(ok func() bool) func() error {
	return func() error {
		if !ok() {
			return errNotYet
		}
		return nil
	}
}

func replaceFile(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600), os.Rename(file+".new", file)); err != nil {
		t.Fatal(err)
	}
}

func openStream(t *testing.T, client http.RoundTripper, i int) *bufio.Reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://front.test/secure/stream?%d", i), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-session-id", "alice")
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	return bufio.NewReader(resp.Body)
}

// envoyCounts are Envoy's counters of what a renewed certificate must not do.
func envoyCounts(t *testing.T, s *harness.Stack) string {
	t.Helper()
	text, err := harness.Body(s.EnvoyAdmin + "/stats?filter=" +
		`^(listener_manager\.(listener_(added|modified|removed|create_success)|total_filter_chains_draining|total_listeners_draining)|cluster_manager\.cluster_(added|modified|removed))`)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What the configuration says of TLS may change under requests: other files, another
// certificate beside those that there are, TLS at an address that had none, and none at
// one that had. No request to pods fails for it, and no stream of an earlier certificate
// ends.
func TestTLSComesAndGoesUnderRequests(t *testing.T) {
	t.Parallel()
	ca, dir := testtls.NewAuthority(t), t.TempDir()
	cert, key := ca.Write(dir, "client", testtls.Leaf{})
	front, frontKey := ca.Write(dir, "front", testtls.Leaf{Hosts: []string{"front.test"}})
	other, otherKey := ca.Write(dir, "other", testtls.Leaf{Hosts: []string{"other.test"}})
	pod := newTLSPod(t, "pod", of(ca, "chat.internal", "http/1.1"))
	svc := tlsService("secure", map[string]string{"ca": ca.WriteCA(dir, "ca"), "sni": "chat.internal", "cert": cert, "key": key}, pod)
	s := start(t, harness.Options{Services: []harness.Service{harness.Chat(1), svc}, Certificates: []harness.Certificate{{Cert: front, Key: frontKey}}})
	harness.Eventually(t, harness.Patience, "the pod is healthy", healthy(s, "secure", 1))
	stream := openStream(t, overTLS(t, s, ca, "front.test", true), 0)

	traffic, stop := newTransport(t), make(chan struct{})
	failed := make(chan error, 1)
	go func() { failed <- askUntil(traffic, s.URL+"secure", stop) }()
	s.Change(t, func(c *harness.Config) {
		c.Services[1].TLS = map[string]string{"ca": ca.WriteCA(dir, "ca2"), "sni": "chat.internal", "cert": cert, "key": key}
	})
	s.Change(t, func(c *harness.Config) {
		c.Envoy.TLS = append(c.Envoy.TLS, harness.Certificate{Hosts: []string{"other.test"}, Cert: other, Key: otherKey})
	})
	harness.Eventually(t, harness.Patience, "the second certificate is shown", until(func() bool {
		return shown(t, s.TLSAddress, ca, "other.test").PeerCertificates[0].DNSNames[0] == "other.test"
	}))
	// The clusters of both authorities were in use by now, and the first one's is gone.
	harness.Eventually(t, harness.Patience, "the cluster names the other file", until(func() bool {
		dump, err := harness.Body(s.EnvoyAdmin + "/config_dump?resource=dynamic_active_clusters")
		return err == nil && strings.Contains(dump, "ca2.pem") && !strings.Contains(dump, "ca.pem")
	}))
	pod.lines[0] <- "still here"
	if line, err := stream.ReadString('\n'); err != nil || line != "still here\n" {
		t.Errorf("the stream brought %q, %v", line, err)
	}
	s.WaitClients(t)
	close(stop)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	s.Change(t, func(c *harness.Config) { c.Envoy.Listener[0].Plain, c.Envoy.Listener[1].Plain = false, true })
	plain := newTransport(t)
	at := strings.Trim(strings.TrimPrefix(s.URL, "http:"), "/")
	harness.Eventually(t, harness.Patience, "the listeners have changed places", func() error {
		conn, err := tls.Dial("tcp", at, &tls.Config{ServerName: "front.test", RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12})
		if err != nil {
			return err
		}
		_ = conn.Close()
		resp, err := plain.RoundTrip(newRequest(t, "http://"+s.TLSAddress+"/secure"))
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	s.Change(t, func(c *harness.Config) {
		c.Services = c.Services[:1]
		c.Envoy.TLS, c.Envoy.Listener = nil, []harness.Listener{{Address: at}}
	})
	harness.Eventually(t, harness.Patience, "a listener without TLS again", func() error { _, err := s.OK(); return err })
	s.WaitClients(t)
}

func newRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// askUntil asks on and on, on a connection of its own, and returns the first failure.
func askUntil(client *http.Transport, url string, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		req.Header.Set("x-session-id", "alice")
		resp, err := client.RoundTrip(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %w", resp.Status, err)
		}
	}
}
