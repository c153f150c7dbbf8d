package extproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/stateful-route/stateful-route/extproc/codec"
	"github.com/stateful-route/stateful-route/insight/tracing"
	"github.com/stateful-route/stateful-route/wire"
)

// ServerOptions configures a Server.
type ServerOptions struct {
	// Directory knows the services. Required.
	Directory *Directory
	// Table holds the bindings. Required.
	Table Table
	// Tracer makes the spans. nil makes none.
	Tracer *tracing.Tracer
	// Log receives rebinds, refusals and misroutes. nil means silence.
	Log *zap.Logger
	// Now is the clock. nil means time.Now.
	Now func() time.Time
}

// Server is Envoy's ExternalProcessor: one stream for each HTTP request.
type Server struct {
	directory *Directory
	table     Table
	tracer    *tracing.Tracer
	log       *zap.Logger
	now       func() time.Time
	hasher    *keyHasher
	unbound   answerPair
	drain     *drain
}

// NewServer returns a server for NewGRPCServer.
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
		hasher: o.Directory.hasher, unbound: unboundAnswers(), drain: newDrain(),
	}, nil
}

// Process decides one HTTP request and, where it has a purpose, looks at its
// response. It never ends a stream cleanly before the first answer: Envoy would
// take that for a request that needs no processing and let it pass.
func (s *Server) Process(stream grpc.ServerStream) error {
	came, asks := s.now(), questionOf(stream.Context())
	svc, err := s.serviceOf(stream.Context(), asks.service)
	if err != nil {
		return err
	}
	x := &exchange{server: s, service: svc, came: came}
	first := &x.message
	if err := stream.RecvMsg(first); err != nil {
		s.countLate(svc, "", s.now().Sub(came), "")
		return status.Error(codes.Canceled, "no request came") // the stream is gone: nobody reads this
	}
	if first.Kind != codec.RequestHeaders {
		return s.undecided(undecidedNoHeaders, svc.policy.Name, codes.FailedPrecondition, "the first message must be the request headers")
	}
	switch {
	case asks.confirm:
		return s.confirm(stream, svc, first)
	case asks.learn:
		return s.learned(stream, svc, first.Headers)
	}
	x.began = s.now()
	x.begin(stream.Context(), first.Headers)
	x.message = codec.Message{} // it may be long, and the stream open for hours
	defer x.end()
	return x.run(stream)
}

// Why a callout ends without a decision, as counted and logged.
const (
	undecidedNoService = "no_service"      // its metadata names none: it is not our configuration's
	undecidedNoHeaders = "no_headers"      // it does not begin with a request's headers
	undecidedUnknown   = "unknown_service" // its service is not among those of xds-server
	undecidedStarting  = "starting"        // Envoy did not wait until services had come
	undecidedStopping  = "stopping"        // this process ends before they have
)

// serviceOf finds the service of a stream. A process that has just started waits
// for its services, for Envoy would send the request anywhere where on_extproc_loss
// is allow; how long that may take is Envoy's message_timeout. Upon the Unavailable
// of a service that is not known Envoy asks again, another replica if there is one,
// until that time is over, and then leaves the request to that setting.
func (s *Server) serviceOf(ctx context.Context, name string) (*service, error) {
	if name == "" {
		return nil, s.undecided(undecidedNoService, "", codes.InvalidArgument, "no "+wire.ServiceMetadata+" in the stream's metadata")
	}
	if svc := s.directory.await(ctx, s.drain.begun, name); svc != nil {
		return svc, nil
	}
	reason := undecidedStarting
	switch {
	case s.directory.Complete():
		reason = undecidedUnknown
	case s.drain.begun.Err() != nil:
		reason = undecidedStopping
	}
	return nil, s.undecided(reason, name, codes.Unavailable, fmt.Sprintf("service %q is not known", name))
}

// undecided makes it visible that Envoy is left without a decision, and returns
// the status that says so.
func (s *Server) undecided(reason, service string, code codes.Code, text string) error {
	s.directory.opts.Monitor.Undecided(reason)
	s.log.Warn("callout not decided", zap.String("service", service), zap.String("reason", reason))
	return status.Error(code, text)
}

// run answers the first message with what was decided, then whatever Envoy
// still asks, until the stream ends or is let go of. That end is the normal one
// whether it comes as end of file or as a cancellation.
func (x *exchange) run(stream grpc.ServerStream) error {
	if err := stream.SendMsg(x.answer); err != nil {
		x.late = true
		return err
	}
	if x.refused() {
		return nil
	}
	if !x.asked { // else the session waits for what the response has to say
		x.show(x.began)
	}
	x.server.drain.hold(stream.Context(), &x.stays, x.owes())
	defer x.stays.release()
	for {
		if err := stream.RecvMsg(&x.message); err != nil {
			x.drained = x.server.drain.begun.Err() != nil
			return endOfStream(err)
		}
		answer := x.next(stream.Context(), &x.message)
		x.message = codec.Message{}
		if answer == nil {
			return status.Error(codes.InvalidArgument, "unexpected message")
		}
		if err := stream.SendMsg(answer); err != nil {
			return err
		}
		if !x.owes() {
			x.stays.settled()
		}
	}
}

// endOfStream turns the ways Envoy ends a stream into success.
func endOfStream(err error) error {
	switch {
	case errors.Is(err, io.EOF), status.Code(err) == codes.Canceled:
		return nil
	}
	return err
}
