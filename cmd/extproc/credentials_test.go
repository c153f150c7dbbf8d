package main

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/internal/rawgrpc"
	"github.com/stateful-route/stateful-route/internal/testtls"
	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/load"
	"github.com/stateful-route/stateful-route/xds/state"
)

// startXDSServer serves one service with the credentials.
func startXDSServer(t *testing.T, creds credentials.TransportCredentials) (address string, loads *load.Store) {
	t.Helper()
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "xds-server"})
	if err != nil {
		t.Fatal(err)
	}
	server, err := xds.New(xds.Options{Logger: zap.NewNop(), Observer: monitor, Boot: "test", Credentials: creds})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	loads = load.NewStore()
	reports := &load.Server{Loads: loads, Pods: func() load.Pods { return server.Model() }}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- server.Run(ctx) }()
	go func() { ended <- server.Serve(ctx, listener, reports.RegisterOn) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	svc := service()[0].Service
	svc.Hosts, svc.Prefix, svc.Session.OnPodLoss, svc.Session.OnExtprocLoss = []string{"*"}, "/", statefulroute.Rebind, statefulroute.Allow
	svc.Pods.Static = service()[0].Pods
	gateway := state.Gateway{Listeners: []state.Listener{{Address: "127.0.0.1:10000"}}, Extprocs: []string{"127.0.0.1:18080"}, MessageTimeout: time.Second}
	if err := server.SetConfig(t.Context(), gateway, []statefulroute.Service{svc}, nil); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String(), loads
}

// Services, load reports and callouts go by mutual TLS where both ends are given
// credentials, and not otherwise.
func TestEveryConnectionByTLS(t *testing.T) {
	authority := testtls.NewAuthority(t)
	address, loads := startXDSServer(t, authority.Server())
	a, _, stop := startApp(t, func(o *Options) {
		o.Config.XDS, o.Credentials, o.XDSCredentials = address, authority.Server(), authority.Client()
	})
	defer stop()
	rawgrpc.Eventually(t, "services have come", a.directory.Complete)
	rawgrpc.Eventually(t, "a load report has come", func() bool { return len(loads.Take().Replicas) > 0 })

	conn, err := grpc.NewClient(a.grpcListener.Addr().String(), grpc.WithTransportCredentials(authority.Client()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	awaitServing(t, conn)
	for name, refused := range map[string]*grpc.ClientConn{
		"in plain text": dial(t, a.grpcListener.Addr().String()),
		"of another authority": func() *grpc.ClientConn {
			conn, err := grpc.NewClient(a.grpcListener.Addr().String(), grpc.WithTransportCredentials(testtls.NewAuthority(t).Client()))
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}(),
		"to xds-server in plain text": dial(t, address),
	} {
		if r, err := healthv1.NewHealthClient(refused).Check(t.Context(), &healthv1.HealthCheckRequest{}); err == nil {
			t.Errorf("a client %s is answered: %v", name, r)
		}
		refused.Close()
	}
}
