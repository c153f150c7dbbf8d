// Package codec is what Envoy and extproc say to each other in one callout, by as little work as
// will do: of a message of Envoy's only what is read here is taken apart, and an answer
// that never changes is encoded once.
//
//	server := grpc.NewServer(grpc.ForceServerCodecV2(codec.New()))
//	…
//	var m codec.Message
//	err := stream.RecvMsg(&m)
//	key := m.Headers.Value("x-session-id")
//	err = stream.SendMsg(answer) // by NewAnswer
//
// A message in which anything is not known here is read by package proto, as one that is damaged
// is: what comes out, the error included, is the same, which FuzzMessage holds.
package codec
