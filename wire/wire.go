// Package wire is the vocabulary that xds-server and extproc share over
// Envoy's protocols: the names of internal headers and metadata, and how a
// service's session policy travels in cluster metadata (CDS) and a pod's name
// and state in endpoint metadata (EDS), and the names of the metrics in load reports.
//
// xds-server writes what extproc reads, and extproc reports what xds-server reads, so
// there is one source of truth and no protocol of our own.
package wire

import "google.golang.org/protobuf/types/known/structpb"

const (
	// Namespace is the key of our entries in Envoy's filter metadata and
	// dynamic metadata.
	Namespace = "stateful-route"
	// ClusterPrefix begins the names of clusters that are not a service's: no
	// service may take one.
	ClusterPrefix = "stateful-route-"
	// UserAgent is the xDS node user_agent_name by which xds-server tells an
	// extproc from an Envoy.
	UserAgent = "stateful-route-extproc"
	// ServiceMetadata is the gRPC metadata in which Envoy tells extproc the
	// service of a request.
	ServiceMetadata = "x-stateful-route-service"
	// KeyMetadata begins the names of the gRPC metadata by which Envoy finds a
	// session's replica of extproc, which does not read it.
	KeyMetadata = "x-stateful-route-key-"
	// HeaderPrefix begins every internal header. Envoy strips them from what
	// clients send before any filter sees the request.
	HeaderPrefix = "x-stateful-route-"
	// DestinationHeader carries the chosen pod's address, base64 of IP:PORT,
	// from extproc to Envoy's stateful_session filter.
	DestinationHeader = "x-stateful-route-destination"
	// EpochHeader tells a pod the epoch of the binding by which it gets a request, where
	// epoch_header is set.
	EpochHeader = "x-stateful-route-epoch"
	// PodHeader names the pod on a response when envoy.debug_headers is set.
	PodHeader = "x-stateful-route-pod"
	// ForwardedProtoHeader keeps what the client's x-forwarded-proto said, for
	// Envoy overwrites that with its own connection's; only extproc sees it.
	ForwardedProtoHeader = "x-stateful-route-forwarded-proto"
	// PreflightHeader is a header of requests by which browsers ask whether they may
	// send another one.
	PreflightHeader = "access-control-request-method"
	// ReasonHeader says on a response why the request was refused.
	ReasonHeader = "x-stateful-route-reason"
	// DecidedKey is the dynamic metadata key extproc sets on requests it answered and sent
	// to no pod, and on all of a service with on_extproc_loss: deny, which lets only such
	// requests pass, those with a DestinationHeader and those with FastPathState.
	DecidedKey = "decided"
	// RetryOnHeader is the request header by which extproc and the module ask Envoy's router to
	// try a request again, after the failures that it names. What clients
	// send under it is stripped first, and the router takes it out.
	RetryOnHeader = "x-envoy-retry-on"
	// MaxRetriesHeader says beside it how often; without it, BoundRetries.
	MaxRetriesHeader = "x-envoy-max-retries"
	// BoundRetries is how often a request that is bound to a pod is tried again there. Routes
	// say it: it is said of most requests, and a header of each costs Envoy a hundredth of it.
	BoundRetries = 1
	// UnboundRetries is the same for one that may go to any pod.
	UnboundRetries = 2
	// FastPathState is the key of the filter state by which Envoy's module says, with
	// FastPathTaken, that extproc need not be asked.
	FastPathState = "stateful-route.fast-path"
	// FastPathTaken is the value under FastPathState.
	FastPathTaken = "1"
	// LBNamespace is the key in filter and dynamic metadata of what Envoy's load balancer
	// heeds. There, BoundPodKey has the name of each endpoint's pod and of the pod that
	// a request is bound to, for its retry.
	LBNamespace = "envoy.lb"
	// BoundPodKey is a key in LBNamespace.
	BoundPodKey = "stateful-route-pod"
	// RetrySamePodOn are the failures of a bound request after which it is tried once more at
	// its pod: there was no response. Envoy cannot tell a connection that was closed as the
	// request came from one that could not be opened.
	RetrySamePodOn = "reset"
	// ConfirmMetadata is the gRPC metadata that marks the question whether a bound
	// request may be sent to its pod once more.
	ConfirmMetadata = "x-stateful-route-confirm"
	// LearnMetadata is the gRPC metadata that marks a request which Envoy's module answered
	// for, and whose response names a session.
	LearnMetadata = "x-stateful-route-learn"
	// UpstreamAddressAttribute is IP:PORT of the pod that served, or is about to.
	UpstreamAddressAttribute = "upstream.address"
	// RequestTimeAttribute comes with that question: when the request came, RFC 3339.
	RequestTimeAttribute = "request.time"
	// RetryOn are the failures of requests that never reached a pod.
	RetryOn = "connect-failure,refused-stream"
)

// The values of ReasonHeader.
const (
	// ReasonPodLost: the session's pod is gone and its service says reject.
	ReasonPodLost = "pod-lost"
	// ReasonMoved: the session was moved or forgotten while its request was tried again.
	ReasonMoved = "moved"
	// ReasonLateRetry: a request failed too long after it came to be tried again.
	ReasonLateRetry = "late-retry"
	// ReasonNoPods: no pod takes new sessions.
	ReasonNoPods = "no-pods"
	// ReasonTableUnavailable: the session table did not answer and its service says deny.
	ReasonTableUnavailable = "table-unavailable"
	// ReasonSessionMoving: the session is being given another pod, and a replica that has
	// stopped is waited for.
	ReasonSessionMoving = "session-moving"
	// ReasonExtprocLost: no external processor answered and its service says deny.
	ReasonExtprocLost = "extproc-lost"
)

// BoundPod is the metadata under LBNamespace of a pod, and of a request bound to it.
func BoundPod(name string) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{BoundPodKey: structpb.NewStringValue(name)}}
}
