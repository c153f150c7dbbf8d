package extproc

import (
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/internal/grpclimit"
)

// ClientLimits bound what the Envoys that connect may cost. Beyond them what is
// new is refused, as if this extproc were away; what is there goes on.
type ClientLimits struct {
	// Connections is how many may be open: each thread of each Envoy has one. One
	// address, this machine's excepted, gets half of them. 0 means 1,024.
	Connections int
	// Streams is how many may be open, at least one for each connection: one for
	// each request that is in flight, an open websocket for one. Half of them is kept
	// for the connections in equal parts. 0 means 100,000, and at least 100 for each
	// connection.
	Streams int
}

func (l *ClientLimits) fill() {
	if l.Connections == 0 {
		l.Connections = 1024
		if l.Streams > 0 {
			l.Connections = min(l.Connections, l.Streams)
		}
	}
	if l.Streams == 0 {
		l.Streams = max(100_000, 100*l.Connections)
	}
}

// maxMessage bounds a message, in bytes. Envoy takes no more than 96 KiB of request
// headers, 60 KiB of response headers, and sends us those of them that we read;
// the rest is for the frame around each, and for attributes.
const maxMessage = 128 << 10

// minPing bounds how often Envoy may ask whether we are there: with several replicas
// that is every 50 ms, in message_timeout's favour, and more often where what it sent
// is read late.
const minPing = time.Millisecond

// NewGuard returns the guard of the gRPC server on which a Server is registered.
// A connection that was idle for an hour is closed, as Envoy itself would.
func NewGuard(l ClientLimits, log *zap.Logger) (*grpclimit.Guard, error) {
	l.fill()
	return grpclimit.New(grpclimit.Options{
		Connections: l.Connections,
		Streams:     l.Streams,
		MessageSize: maxMessage,
		Idle:        time.Hour,
		MinPing:     minPing,
		Log:         log,
	})
}
