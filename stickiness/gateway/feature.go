package gateway

// Feature is something that a schedule may need of a gateway.
type Feature string

// The features.
const (
	// TwoGateways: two of them serve the same pods at once and are meant to
	// agree about sessions.
	TwoGateways Feature = "two-gateways"
	// Scaling: pods are added and removed while it runs.
	Scaling Feature = "scaling"
	// Moving: a pod of the same name may get another address.
	Moving Feature = "moving"
	// Drain: a pod may be Draining.
	Drain Feature = "drain"
	// HealthChecks: it asks Options.Health by itself.
	HealthChecks Feature = "health-checks"
	// Reload: Gateway.Reload.
	Reload Feature = "reload"
	// ControlPlaneApart: it has a control plane in a process of its own. Whether it
	// has is seen from its Gateway, which then is a ControlPlane.
	ControlPlaneApart Feature = "control-plane"
	// ClientIDs: the client chooses its ids (kinds Header and Cookie).
	ClientIDs Feature = "client-ids"
	// LongIDs: ids of up to 8,000 bytes are sessions like others.
	LongIDs Feature = "long-ids"
	// WebSocket: it passes WebSockets.
	WebSocket Feature = "websocket"
	// EventStream: it passes event streams that have no end.
	EventStream Feature = "event-stream"
	// GRPC: it passes gRPC: HTTP/2 without TLS from the client and to the pods,
	// which serve it at the address of everything else.
	GRPC Feature = "grpc"
)

// Features are all of them, in the order of the documentation.
func Features() []Feature {
	return []Feature{TwoGateways, Scaling, Moving, Drain, HealthChecks, Reload, ControlPlaneApart, ClientIDs, LongIDs, WebSocket, EventStream, GRPC}
}
