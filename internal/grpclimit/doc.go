// Package grpclimit bounds what the clients of a gRPC server may cost it:
// connections, streams, the size of messages and headers, half-open handshakes.
// Beyond a bound the newcomer is refused, with a status that says which bound it
// was; those that are there go on. Each connection may always hold a few streams,
// however many another one holds, and one remote address takes at most half of the
// connections, so that a client that hammers cannot lock the others out.
//
//	guard, err := grpclimit.New(grpclimit.Options{Connections: 1000, Streams: 100_000, MessageSize: 128 << 10, Log: log})
//	…
//	err = monitor.Register("grpc clients", guard) // refusals and what is open
//	server := grpc.NewServer(guard.ServerOptions()...)
//	err = server.Serve(guard.Listener(listener))
package grpclimit
