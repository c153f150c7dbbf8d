package xds

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/internal/grpclimit"
)

// ClientLimits bound what clients may cost. Beyond them a newcomer is refused; who
// is there stays.
type ClientLimits struct {
	// Connections is how many clients may be connected; an Envoy and an extproc
	// have one each. One address, this machine's excepted, gets half of them. 0
	// means 5,000.
	Connections int
	// Streams is how many ADS and LRS streams may be open, at least one for each
	// connection. 0 means four for each connection, of which two are kept for it:
	// a client has one stream of each kind.
	Streams int
}

func (l *ClientLimits) fill() {
	if l.Connections == 0 {
		l.Connections = 5000
		if l.Streams > 0 {
			l.Connections = min(l.Connections, l.Streams)
		}
	}
	if l.Streams == 0 {
		l.Streams = 4 * l.Connections
	}
}

// Bounds of what one client says. A client that follows the protocol names
// resources that it was told of, in messages of well under a megabyte.
const (
	// maxMessage bounds a message: a load report speaks of every pod.
	maxMessage = 4 << 20
	// maxNames bounds the resource names of one stream: those subscribed to, and
	// those in the last request of each type, which after a reconnection says once
	// more what the client has.
	maxNames = 40_000
	// keptNames are there for each stream, however many others ask for.
	keptNames = 32
	// sharedNames, times the streams, are there for those that need more.
	sharedNames = 50
	// maxTypes bounds the resource types of one stream; four are served.
	maxTypes = 16
	// maxName bounds a resource's name, a type's and a node's id, in bytes.
	maxName = 1 << 10
	// maxNode bounds what is kept of a node's metadata, in bytes.
	maxNode = 4 << 10
	// maxReason is where a client's reason for a refusal is cut, in bytes.
	maxReason = 1 << 10
)

// newGuard bounds the clients. Requests are small, so is what is kept for reading.
func newGuard(l ClientLimits, names *grpclimit.Pool, log *zap.Logger) (*grpclimit.Guard, error) {
	return grpclimit.New(grpclimit.Options{
		Connections: l.Connections,
		Streams:     l.Streams,
		MessageSize: maxMessage,
		ReadBuffer:  4 << 10,
		Idle:        5 * time.Minute,
		Ping:        30 * time.Second,
		Log:         log,
		Inspect: func(method string) grpclimit.Inspector {
			if strings.Contains(method, "LoadReporting") {
				return loadInspector{}
			}
			return &discoveryInspector{names: names.Share()}
		},
	})
}

// ClientMetrics are the connections and streams of clients, and what was refused.
func (s *Server) ClientMetrics() prometheus.Collector { return s.guard }
