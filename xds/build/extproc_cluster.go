package build

import (
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocsvcv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stateful-route/stateful-route/xds/state"
)

// buildExtprocCluster is where Envoy finds the external processors. A replica that
// is gone, or hangs, costs no request its decision as long as there is another one:
// what it was asked is reset, by the end of its connection or by a ping that it does
// not answer, and asked of the other (extprocRetry). Health checks then leave it.
func buildExtprocCluster(g state.Gateway) (*clusterv3.Cluster, error) {
	keepalive := extprocKeepalive(g)
	c, err := buildGRPCCluster(extprocCluster, g.Extprocs, keepalive)
	if err != nil {
		return nil, fmt.Errorf("envoy.extproc.address: %w", err)
	}
	c.HealthChecks = extprocHealth(g)
	c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{
		// With none healthy Envoy asks none, and on_extproc_loss acts at once: no
		// request waits for an answer that does not come.
		HealthyPanicThreshold: &typev3.Percent{Value: 0},
		// By default, what a health check found is held back for up to a second.
		UpdateMergeWindow: durationpb.New(0),
	}
	if replicated(g) {
		// One that hangs has requests in flight, and is asked less.
		c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		c.OutlierDetection = extprocOutliers(len(g.Extprocs))
	}
	options := http2Protocol(keepalive)
	if options.RetryPolicy, err = extprocRetry(g); err != nil {
		return nil, err
	}
	if affine(g) {
		// Sessions of one that is away spread over the others; those of the others stay.
		options.HashPolicy, c.LbPolicy = hashPolicies(), clusterv3.Cluster_RING_HASH
	}
	c.TypedExtensionProtocolOptions, err = httpOptions(options)
	return c, err
}

// extprocRetry has Envoy ask again, another replica first, until message_timeout
// ends the callout: a request that arrives while extproc is being restarted waits
// for the next process. A callout may be repeated at will, for the first claim of a
// session holds; one that was answered is not. The count of retries only has to
// outlast message_timeout. That of draws is high because two of them often give the
// same replica, and one that hangs may be the less busy for it.
//
// It is the cluster's, which Envoy reads once: that of a gRPC service it reads anew for
// each callout, which was a tenth of all that a request cost it.
func extprocRetry(g state.Gateway) (*routev3.RetryPolicy, error) {
	policy := &routev3.RetryPolicy{
		RetryOn:    "connect-failure,refused-stream,reset,unavailable",
		NumRetries: wrapperspb.UInt32(1000),
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(10 * time.Millisecond),
			MaxInterval:  durationpb.New(50 * time.Millisecond),
		},
	}
	if !replicated(g) {
		return policy, nil
	}
	var err error
	policy.RetryHostPredicate, err = elsewhere()
	policy.HostSelectionRetryMaxAttempts = 20
	return policy, err
}

// extprocService is the callout. What Envoy says of itself in the headers of each, that it
// is internal and for whom it asks, nobody reads.
func extprocService() *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: extprocCluster, SkipEnvoyHeaders: true},
	}}
}

func replicated(g state.Gateway) bool { return len(g.Extprocs) > 1 }

// The times of health checks: one that fails is repeated sooner, so that a replica
// that came back is not missed for longer than a callout waits.
const (
	extprocCheckInterval     = 250 * time.Millisecond
	extprocUnhealthyInterval = 100 * time.Millisecond
	// singleAway is how long a single extproc may be away before Envoy leaves it.
	singleAway = 2 * time.Second
)

// extprocHealth leaves one of several replicas when its connection was refused twice in
// a row, or it did not answer twice within message_timeout, taken as half a second at
// least and one at most; and at once when it says that it does not know its services.
//
// A single one is left only when it was away for longer than message_timeout, within
// which a request waits for its restart, and than ordinary restarts take; and it is
// asked as soon as it listens: until it knows its services it keeps requests waiting
// itself.
func extprocHealth(g state.Gateway) []*corev3.HealthCheck {
	service, threshold, patience := extprocsvcv3.ExternalProcessor_ServiceDesc.ServiceName, 2, time.Second
	if !replicated(g) {
		service, patience = "", 10*time.Second // the process as a whole
		away := max(g.MessageTimeout, singleAway)
		threshold = 1 + int((away+extprocCheckInterval-1)/extprocCheckInterval)
	}
	interval := durationpb.New(extprocCheckInterval)
	return []*corev3.HealthCheck{{
		Interval:           interval,
		NoTrafficInterval:  interval,
		UnhealthyInterval:  durationpb.New(extprocUnhealthyInterval),
		Timeout:            durationpb.New(between(500*time.Millisecond, g.MessageTimeout, patience)),
		UnhealthyThreshold: wrapperspb.UInt32(uint32(threshold)),
		HealthyThreshold:   wrapperspb.UInt32(1),
		HealthChecker: &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: &corev3.HealthCheck_GrpcHealthCheck{
			ServiceName: service,
		}},
	}}
}

// extprocOutliers leaves a replica that answers five callouts in a row with errors,
// as one does that was told of other services. Only what a replica itself answers
// counts: were refused and lost connections counted, the last replica would be left
// while it restarts and the others are not seen yet, and Envoy would fail at once
// where it waits for an answer. Nor does a good health check bring it back, for its
// health is good.
func extprocOutliers(replicas int) *clusterv3.OutlierDetection {
	never := wrapperspb.UInt32(0)
	return &clusterv3.OutlierDetection{
		SplitExternalLocalOriginErrors: true,
		Consecutive_5Xx:                wrapperspb.UInt32(5),
		EnforcingConsecutive_5Xx:       wrapperspb.UInt32(100),
		Interval:                       durationpb.New(time.Second),
		BaseEjectionTime:               durationpb.New(time.Second),
		MaxEjectionTime:                durationpb.New(30 * time.Second),
		MaxEjectionPercent:             wrapperspb.UInt32(uint32(100 * (replicas - 1) / replicas)),

		EnforcingConsecutiveGatewayFailure:     never,
		EnforcingConsecutiveLocalOriginFailure: never,
		EnforcingSuccessRate:                   never,
		EnforcingLocalOriginSuccessRate:        never,
		SuccessfulActiveHealthCheckUnejectHost: wrapperspb.Bool(false),
	}
}

// extprocKeepalive has Envoy give up the connection of an extproc that no longer
// answers, and with it what was asked there. Of several, that is after at most three
// quarters of message_timeout, and 2 s, so that there is time to ask another one. A
// single one is tried again after 13 s at most: nobody else can answer.
func extprocKeepalive(g state.Gateway) *corev3.KeepaliveSettings {
	interval, timeout := 10*time.Second, 3*time.Second
	if replicated(g) {
		interval = between(50*time.Millisecond, g.MessageTimeout/4, time.Second)
		timeout = between(50*time.Millisecond, g.MessageTimeout/2, time.Second)
	}
	return &corev3.KeepaliveSettings{Interval: durationpb.New(interval), Timeout: durationpb.New(timeout)}
}

func between(least, d, most time.Duration) time.Duration { return min(max(least, d), most) }
