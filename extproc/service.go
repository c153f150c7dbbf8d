package extproc

import (
	"context"
	"errors"
	"io"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/stateful-route/stateful-route/insight"
	"github.com/stateful-route/stateful-route/policy"
)

// ServerOptions configures a Server.
type ServerOptions struct {
	// Directory knows the services. Required.
	Directory *Directory
	// Table holds the bindings. Required.
	Table Table
	// Tracer makes the spans. nil makes none.
	Tracer *insight.Tracer
	// Log receives rebinds, refusals and misroutes. nil means silence.
	Log *zap.Logger
	// Now is the clock. nil means time.Now.
	Now func() time.Time
}

// Server is Envoy's ExternalProcessor: one stream for each HTTP request.
type Server struct {
	extprocv3.UnimplementedExternalProcessorServer

	directory *Directory
	table     Table
	tracer    *insight.Tracer
	log       *zap.Logger
	now       func() time.Time
	hasher    *keyHasher
	unbound   answerPair
}

// NewServer returns a server to be registered with a grpc.Server.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Directory == nil || o.Table == nil {
		return nil, errors.New("extproc: a server needs a Directory and a Table")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{
		directory: o.Directory, table: o.Table, tracer: o.Tracer, log: o.Log, now: o.Now,
		hasher: o.Directory.hasher, unbound: unboundAnswers(),
	}, nil
}

// Process decides one HTTP request and, where it has a purpose, looks at its
// response. It never ends a stream cleanly before the first answer: Envoy would
// take that for a request that needs no processing and let it pass.
func (s *Server) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	came := s.now()
	md, _ := metadata.FromIncomingContext(stream.Context())
	svc, err := s.serviceOf(stream.Context(), md)
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		s.countLate(svc, "", s.now().Sub(came), "")
		return status.Error(codes.Canceled, "no request came") // the stream is gone: nobody reads this
	}
	h := first.GetRequestHeaders()
	if h == nil {
		return status.Error(codes.FailedPrecondition, "the first message must be the request headers")
	}
	x := &exchange{server: s, service: svc, came: came, began: s.now()}
	x.begin(stream.Context(), md, h.GetHeaders().GetHeaders())
	defer x.end()
	return x.run(stream)
}

// serviceOf finds the service of a stream. A process that has just started waits
// for its services, for Envoy would send the request anywhere where on_extproc_loss
// is allow; how long that may take is Envoy's message_timeout. The Unavailable of
// a service that is not known leaves the request to that setting.
func (s *Server) serviceOf(ctx context.Context, md metadata.MD) (*service, error) {
	name := metadataValue(md)(policy.ServiceMetadata)
	if name == "" {
		return nil, status.Errorf(codes.InvalidArgument, "no %s in the stream's metadata", policy.ServiceMetadata)
	}
	svc := s.directory.await(ctx, name)
	if svc == nil {
		return nil, status.Errorf(codes.Unavailable, "service %q is not known", name)
	}
	return svc, nil
}

// run answers the first message with what was decided, then whatever Envoy
// still asks, until the stream ends. That end is the normal one whether it
// comes as end of file or as a cancellation.
func (x *exchange) run(stream extprocv3.ExternalProcessor_ProcessServer) error {
	if err := stream.Send(x.answer); err != nil {
		x.late = true
		return err
	}
	for !x.refused() {
		m, err := stream.Recv()
		if err != nil {
			return endOfStream(err)
		}
		answer := x.next(m)
		if answer == nil {
			return status.Error(codes.InvalidArgument, "unexpected message")
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

// endOfStream turns the ways Envoy ends a stream into success.
func endOfStream(err error) error {
	switch {
	case errors.Is(err, io.EOF), status.Code(err) == codes.Canceled:
		return nil
	}
	return err
}
