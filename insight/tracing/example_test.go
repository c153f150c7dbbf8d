package tracing_test

import (
	"context"
	"fmt"
	"time"

	"github.com/stateful-route/stateful-route/insight/tracing"
)

// Without OTEL_* variables a tracer is off, and what it makes records nothing.
func ExampleTracer_Request() {
	tracer, err := tracing.NewTracer(context.Background(), tracing.TracerOptions{Process: "extproc"})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, span := tracer.Request(context.Background(), nil, nil, "chat")
	start := time.Now()
	span.At(start).TableGet("hash of the key", true, 1_800_000_000_000)
	span.End(200, nil)
	fmt.Println(tracer.Enabled(), span.Recording())
	// Output: false false
}
