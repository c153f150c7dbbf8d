// Package tracing makes the spans of requests and health checks, for OpenTelemetry.
// A [Tracer] that is off, and the spans that it makes, cost nothing:
//
//	ctx, span := tracer.Request(ctx, metadata, header, "chat")
//	span.At(start).TableGet(hashed, true, binding.Epoch)
//	span.End(200, nil)
package tracing
