package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
)

// probe asks one pod once how it is; nil means healthy. Each probe has its own
// connection: one kept open would not notice a listener that is gone.
func probe(ctx context.Context, check statefulroute.HealthCheck, at netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, check.Timeout)
	defer cancel()
	switch {
	case check.TCP:
		return probeTCP(ctx, at)
	case check.GRPCSet:
		return probeGRPC(ctx, check, at)
	default:
		return probeHTTP(ctx, check, at)
	}
}

func probeTCP(ctx context.Context, at netip.AddrPort) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return fmt.Errorf("tcp probe: %w", err)
	}
	return conn.Close()
}

func probeHTTP(ctx context.Context, check statefulroute.HealthCheck, at netip.AddrPort) error {
	transport := &http.Transport{DisableKeepAlives: true, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!check.HTTP2)
	transport.Protocols.SetUnencryptedHTTP2(check.HTTP2)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+check.HTTP, nil)
	if err != nil {
		return fmt.Errorf("http probe: %w", err)
	}
	req.Host = check.Host
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

func probeGRPC(ctx context.Context, check statefulroute.HealthCheck, at netip.AddrPort) error {
	// Pods are probed at their addresses, not through a proxy of the environment.
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy()}
	if check.Host != "" {
		options = append(options, grpc.WithAuthority(check.Host))
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
