package xds

import (
	"context"
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// sotwResponse and deltaResponse are put together by the stream's own goroutine.
// What the client knows after them is booked in the stream's own map: the library
// asks for it once, when it has sent the response.
type sotwResponse struct {
	answer
	request *cachev3.Request
	sub     cachev3.Subscription
}

// GetDiscoveryResponse is the message.
func (r *sotwResponse) GetDiscoveryResponse() (*discoveryv3.DiscoveryResponse, error) {
	out := &discoveryv3.DiscoveryResponse{VersionInfo: r.version, TypeUrl: r.request.GetTypeUrl(), Resources: make([]*anypb.Any, len(r.entries))}
	for i, e := range r.entries {
		raw, err := e.raw()
		if err != nil {
			return nil, fmt.Errorf("resource %q: %w", e.name, err)
		}
		out.Resources[i] = &anypb.Any{TypeUrl: out.TypeUrl, Value: raw}
	}
	return out, nil
}

// GetRequest is the request it answers.
func (r *sotwResponse) GetRequest() *discoveryv3.DiscoveryRequest { return r.request }

// GetVersion is the response's version.
func (r *sotwResponse) GetVersion() (string, error) { return r.version, nil }

// GetResponseVersion is the response's version.
func (r *sotwResponse) GetResponseVersion() string { return r.version }

// GetReturnedResources is what the client knows now.
func (r *sotwResponse) GetReturnedResources() map[string]string {
	known := r.sub.ReturnedResources()
	for _, e := range r.entries {
		known[e.name] = e.version
	}
	for _, name := range r.gone {
		delete(known, name)
	}
	return known
}

// GetContext is of no use here.
func (r *sotwResponse) GetContext() context.Context { return context.Background() }

type deltaResponse struct {
	answer
	request *cachev3.DeltaRequest
	sub     cachev3.Subscription
}

// GetDeltaDiscoveryResponse is the message.
func (r *deltaResponse) GetDeltaDiscoveryResponse() (*discoveryv3.DeltaDiscoveryResponse, error) {
	out := &discoveryv3.DeltaDiscoveryResponse{
		SystemVersionInfo: r.version, TypeUrl: r.request.GetTypeUrl(), RemovedResources: r.gone,
		Resources: make([]*discoveryv3.Resource, len(r.entries)),
	}
	for i, e := range r.entries {
		raw, err := e.raw()
		if err != nil {
			return nil, fmt.Errorf("resource %q: %w", e.name, err)
		}
		out.Resources[i] = &discoveryv3.Resource{Name: e.name, Version: e.hash(), Resource: &anypb.Any{TypeUrl: out.TypeUrl, Value: raw}}
	}
	return out, nil
}

// GetDeltaRequest is the request it answers.
func (r *deltaResponse) GetDeltaRequest() *discoveryv3.DeltaDiscoveryRequest { return r.request }

// GetSystemVersion is the response's version.
func (r *deltaResponse) GetSystemVersion() (string, error) { return r.version, nil }

// GetResponseVersion is the response's version.
func (r *deltaResponse) GetResponseVersion() string { return r.version }

// GetNextVersionMap is what the client knows now.
func (r *deltaResponse) GetNextVersionMap() map[string]string { return r.GetReturnedResources() }

// GetReturnedResources is what the client knows now.
func (r *deltaResponse) GetReturnedResources() map[string]string {
	known := r.sub.ReturnedResources()
	for _, e := range r.entries {
		known[e.name] = e.hash()
	}
	for _, name := range r.gone {
		delete(known, name)
	}
	return known
}

// GetContext is of no use here.
func (r *deltaResponse) GetContext() context.Context { return context.Background() }
