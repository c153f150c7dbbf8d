package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
)

// errUnreachable is among the errors of a probe whose pod accepted no connection.
var errUnreachable = errors.New("no connection")

// probe asks one pod once how it is; nil means healthy. Each probe has its own
// connection: one kept open would not notice a listener that is gone. With secure it is
// made by TLS.
func probe(ctx context.Context, check statefulroute.HealthCheck, secure *tls.Config, at netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, check.Timeout)
	defer cancel()
	var d dialer
	var err error
	switch {
	case check.TCP:
		err = probeTCP(ctx, &d, secure, at)
	case check.GRPCSet:
		err = probeGRPC(ctx, &d, check, secure, at)
	default:
		err = probeHTTP(ctx, &d, check, secure, at)
	}
	if err != nil && d.unreachable.Load() {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	return err
}

// dialer connects to pods and remembers whether one was there: what HTTP and gRPC
// clients return when time is up does not say what they waited for.
type dialer struct {
	net.Dialer

	unreachable atomic.Bool
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d.unreachable.Store(true) // as long as nobody has answered
	conn, err := d.Dialer.DialContext(ctx, network, address)
	// A client that gives up has its connection end by cancellation: nobody had answered then.
	d.unreachable.Store(err != nil && (podsFault(err) || errors.Is(err, context.Canceled)))
	return conn, err
}

// podsFault reports whether a connection failed at the pod or on the way to it. All
// else is this machine's lack, of descriptors or ports, and says nothing about a pod.
func podsFault(err error) bool {
	var timeout net.Error
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

func probeTCP(ctx context.Context, d *dialer, secure *tls.Config, at netip.AddrPort) error {
	conn, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return fmt.Errorf("tcp probe: %w", err)
	}
	if secure == nil {
		return conn.Close()
	}
	defer conn.Close()
	if err := tls.Client(conn, secure).HandshakeContext(ctx); err != nil {
		return fmt.Errorf("tcp probe: %w", err)
	}
	return nil
}

func probeHTTP(ctx context.Context, d *dialer, check statefulroute.HealthCheck, secure *tls.Config, at netip.AddrPort) error {
	transport := &http.Transport{DisableKeepAlives: true, Protocols: new(http.Protocols), DialContext: d.DialContext}
	scheme, host := "http", check.Host
	if secure == nil {
		transport.Protocols.SetHTTP1(!check.HTTP2)
		transport.Protocols.SetUnencryptedHTTP2(check.HTTP2)
	} else {
		transport.Protocols.SetHTTP1(slices.Contains(secure.NextProtos, alpnHTTP1))
		transport.Protocols.SetHTTP2(slices.Contains(secure.NextProtos, alpnHTTP2))
		scheme, host = "https", cmp.Or(check.Host, secure.ServerName)
		transport.TLSClientConfig = secure.Clone() // which the transport changes, and other probes read
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+at.String()+check.HTTP, nil)
	if err != nil {
		return fmt.Errorf("http probe: %w", err)
	}
	req.Host = host
	req.Header.Set("User-Agent", "stateful-route-health-check")
	for name, value := range check.Headers {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("http probe: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("http probe: status %d", resp.StatusCode)
	}
	// A body that hangs is a pod that hangs; more than this is not read.
	if _, err := io.CopyN(io.Discard, resp.Body, 64<<10); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("http probe: %w", err)
	}
	return nil
}

func probeGRPC(ctx context.Context, d *dialer, check statefulroute.HealthCheck, secure *tls.Config, at netip.AddrPort) error {
	creds, host := insecure.NewCredentials(), check.Host
	if secure != nil {
		creds, host = apart{credentials.NewTLS(secure), secure.ServerName}, cmp.Or(check.Host, secure.ServerName)
	}
	// Pods are probed at their addresses, not through a proxy of the environment.
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }),
	}
	if host != "" {
		options = append(options, grpc.WithAuthority(host))
	}
	conn, err := grpc.NewClient("passthrough:///"+at.String(), options...)
	if err != nil {
		return fmt.Errorf("grpc probe: %w", err)
	}
	defer conn.Close()
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(check.Headers))
	resp, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: check.GRPC})
	if err != nil {
		return fmt.Errorf("grpc probe: %w", err)
	}
	if resp.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("grpc probe: %s", resp.GetStatus())
	}
	return nil
}
