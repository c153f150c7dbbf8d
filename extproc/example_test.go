package extproc_test

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc"

	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/extproc/xdsclient"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

// serve answers Envoy on a listener about the services that xds-server, behind conn,
// tells of. See cmd/extproc for what a process has beside.
func serve(ctx context.Context, listener net.Listener, conn grpc.ClientConnInterface) error {
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
	if err != nil {
		return err
	}
	directory, err := extproc.NewDirectory(extproc.DirectoryOptions{Monitor: monitor})
	if err != nil {
		return err
	}
	watcher, err := xdsclient.NewWatcher(xdsclient.WatcherOptions{Conn: conn, NodeID: "extproc/0", Services: directory})
	if err != nil {
		return err
	}
	table, err := affinity.New(affinity.Options{Capacity: 100_000})
	if err != nil {
		return err
	}
	server, err := extproc.NewServer(extproc.ServerOptions{Directory: directory, Table: extproc.MemoryTable{Table: table}})
	if err != nil {
		return err
	}
	grpcServer := extproc.NewGRPCServer(server)
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		_ = watcher.Run(ctx) // until ctx ends
		grpcServer.Stop()
	})
	return grpcServer.Serve(listener)
}

func Example() {
	_ = serve
}
