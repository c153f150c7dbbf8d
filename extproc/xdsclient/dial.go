package xdsclient

import (
	"fmt"
	"time"

	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// DialOptions configure a connection.
type DialOptions struct {
	// Credentials are those of the connection, for its handshake. nil means none: what
	// is sent can be read and changed on its way.
	Credentials credentials.TransportCredentials
}

// Dial returns a connection to xds-server, for a Watcher and a LoadReporter. It
// connects when it is first used, and again whenever it has to.
func Dial(address string, o DialOptions) (*grpc.ClientConn, error) {
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	}
	// A dead peer is noticed although the stream may be silent for hours.
	alive := keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}
	// Both processes are often started at once; gRPC's own first retry is after 1s.
	again := grpc.ConnectParams{
		Backoff:           grpcbackoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
		MinConnectTimeout: 5 * time.Second,
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(o.Credentials),
		grpc.WithConnectParams(again), grpc.WithKeepaliveParams(alive), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)))
	if err != nil {
		return nil, fmt.Errorf("connect to xds-server: %w", err)
	}
	return conn, nil
}
