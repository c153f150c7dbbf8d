// Package pod is what stands behind the gateway under test: small servers, each a
// process of its own, that remember the visits of their sessions in memory and
// sign every answer with a secret that no gateway knows. So an answer says for
// certain which pod gave it, in which of its lives, and what it still held of the
// session:
//
//	GET /           one visit, one Answer as JSON
//	GET /events     an event stream of Answers, without an end
//	GET /socket     a WebSocket: a nonce in, an Answer out
//	POST /stickiness.Pod/Talk   the same as a gRPC stream of both directions
//
// A program that starts pods is its own pods' program: it calls RunIfChild first
// of all, which is where a started pod lives and ends.
package pod
