package extproc

import (
	"context"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"

	"github.com/stateful-route/stateful-route/wire"
)

// question is what the metadata of a stream says of its callout.
type question struct {
	service string
	confirm bool // it asks whether a request may be tried once more
	learn   bool // it tells of a response that names a session
}

type questionKey struct{}

// readQuestion has a stream carry what its metadata says: gRPC copies what a handler reads of
// it, and goes through all of it for what is not there.
func readQuestion(ctx context.Context, info *tap.Info) (context.Context, error) {
	return context.WithValue(ctx, questionKey{}, questionIn(info.Header)), nil
}

func questionIn(md metadata.MD) *question {
	value := func(name string) string {
		if v := md[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	return &question{service: value(wire.ServiceMetadata), confirm: value(wire.ConfirmMetadata) != "", learn: value(wire.LearnMetadata) != ""}
}

// questionOf is what a stream's metadata says of it, on a server that NewGRPCServer made or
// on any other.
func questionOf(ctx context.Context) *question {
	if c, ok := ctx.Value(questionKey{}).(*question); ok {
		return c
	}
	md, _ := metadata.FromIncomingContext(ctx)
	return questionIn(md)
}
