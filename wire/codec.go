package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
)

// wireService is the JSON form of what extproc needs of a service. Fields may
// be added; a decoder ignores those it does not know, so that xds-server and
// extproc can be upgraded one after the other.
type wireService struct {
	Key           []wireSource `json:"key"`
	Learn         []wireSource `json:"learn,omitempty"`
	Issue         *wireCookie  `json:"issue,omitempty"`
	End           []wireEnd    `json:"end,omitempty"`
	IdleTimeout   wireDuration `json:"idle_timeout,omitempty"`
	OnPodLoss     string       `json:"on_pod_loss"`
	OnExtprocLoss string       `json:"on_extproc_loss"`
	EpochHeader   bool         `json:"epoch_header,omitempty"`
	OnStoreLoss   string       `json:"on_store_loss"`
	// FastPath is sent only where it is false: Envoy compares clusters with what it has,
	// and those of services that do not set it stay the same bytes.
	FastPath *bool `json:"fast_path,omitempty"`

	Strategy           string       `json:"strategy"`
	MaxConnections     uint32       `json:"max_connections,omitempty"`
	MaxSessions        uint32       `json:"max_sessions,omitempty"`
	ResponseTimeWindow wireDuration `json:"response_time_window,omitempty"`
	SlowStart          wireDuration `json:"slow_start,omitempty"`
}

type wireSource struct {
	Kind   string            `json:"kind"`
	Name   string            `json:"name"`
	Params map[string]string `json:"params,omitempty"`
}

type wireCookie struct {
	Name        string       `json:"name"`
	TTL         wireDuration `json:"ttl,omitempty"`
	SameSite    string       `json:"same_site,omitempty"`
	Domain      string       `json:"domain,omitempty"`
	Path        string       `json:"path,omitempty"`
	Partitioned bool         `json:"partitioned,omitempty"`
	Renew       bool         `json:"renew,omitempty"`
}

type wireEnd struct {
	Method string `json:"method"`
	Path   string `json:"path,omitempty"`
}

type wirePod struct {
	Name   string `json:"pod"`
	State  string `json:"state"`
	Weight uint32 `json:"weight"`
	Avoid  bool   `json:"avoid,omitempty"`
}

// wireDuration travels as text ("30m0s"): metadata numbers are doubles.
type wireDuration time.Duration

func (d wireDuration) MarshalText() ([]byte, error) {
	return []byte(time.Duration(d).String()), nil
}

func (d *wireDuration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = wireDuration(v)
	return nil
}

// EncodeService returns the cluster metadata that carries svc's session and
// balancing policy.
func EncodeService(svc statefulroute.Service) (*structpb.Struct, error) {
	w := wireService{
		Key:                encodeSources(svc.Session.Key),
		Learn:              encodeSources(svc.Session.Learn),
		IdleTimeout:        wireDuration(svc.Session.IdleTimeout),
		OnPodLoss:          string(svc.Session.OnPodLoss),
		OnExtprocLoss:      string(svc.Session.OnExtprocLoss),
		EpochHeader:        svc.Session.EpochHeader,
		OnStoreLoss:        string(svc.Session.OnStoreLoss),
		Strategy:           svc.Balancing.Strategy,
		MaxConnections:     svc.Balancing.MaxConnections,
		MaxSessions:        svc.Balancing.MaxSessions,
		ResponseTimeWindow: wireDuration(svc.Balancing.ResponseTimeWindow),
		SlowStart:          wireDuration(svc.Balancing.SlowStart),
	}
	if !svc.Session.FastPath {
		w.FastPath = &svc.Session.FastPath
	}
	if c := svc.Session.Issue; c != nil {
		w.Issue = &wireCookie{Name: c.Name, TTL: wireDuration(c.TTL), SameSite: string(c.SameSite), Domain: c.Domain,
			Path: c.Path, Partitioned: c.Partitioned, Renew: c.Renew}
	}
	for _, e := range svc.Session.End {
		w.End = append(w.End, wireEnd(e))
	}
	return toStruct(w)
}

// DecodeService reads the policy of the service called name from cluster metadata.
func DecodeService(name string, meta *structpb.Struct) (statefulroute.Service, error) {
	var w wireService
	if err := fromStruct(meta, &w); err != nil {
		return statefulroute.Service{}, fmt.Errorf("policy of service %q: %w", name, err)
	}
	svc := statefulroute.Service{
		Name: name,
		Session: statefulroute.SessionPolicy{
			Key:           decodeSources(w.Key),
			Learn:         decodeSources(w.Learn),
			IdleTimeout:   time.Duration(w.IdleTimeout),
			OnPodLoss:     statefulroute.PodLossPolicy(w.OnPodLoss),
			OnExtprocLoss: statefulroute.ExtprocLossPolicy(w.OnExtprocLoss),
			EpochHeader:   w.EpochHeader,
			OnStoreLoss:   statefulroute.StoreLossPolicy(w.OnStoreLoss),
			FastPath:      w.FastPath == nil || *w.FastPath,
		},
		Balancing: statefulroute.BalancingPolicy{
			Strategy:           w.Strategy,
			MaxConnections:     w.MaxConnections,
			MaxSessions:        w.MaxSessions,
			ResponseTimeWindow: time.Duration(w.ResponseTimeWindow),
			SlowStart:          time.Duration(w.SlowStart),
		},
	}
	if c := w.Issue; c != nil {
		svc.Session.Issue = &statefulroute.IssuedCookie{Name: c.Name, TTL: time.Duration(c.TTL), SameSite: statefulroute.SameSite(c.SameSite),
			Domain: c.Domain, Path: c.Path, Partitioned: c.Partitioned, Renew: c.Renew}
	}
	for _, e := range w.End {
		svc.Session.End = append(svc.Session.End, statefulroute.SessionEnd(e))
	}
	return svc, nil
}

// EncodePod returns the endpoint metadata that names p and says its state. Its
// Weight is the configured one; the endpoint's own load_balancing_weight is
// what the load made of it.
func EncodePod(p statefulroute.Pod) (*structpb.Struct, error) {
	return toStruct(wirePod{Name: p.Name, State: p.State.String(), Weight: p.Weight, Avoid: p.Avoid})
}

// DecodePod reads a pod from endpoint metadata; address and zone come from the
// endpoint and its locality.
func DecodePod(meta *structpb.Struct, address netip.AddrPort, zone string) (statefulroute.Pod, error) {
	var w wirePod
	if err := fromStruct(meta, &w); err != nil {
		return statefulroute.Pod{}, fmt.Errorf("pod at %s: %w", address, err)
	}
	if w.Name == "" {
		return statefulroute.Pod{}, fmt.Errorf("pod at %s has no name", address)
	}
	state, err := statefulroute.ParsePodState(w.State)
	if err != nil {
		return statefulroute.Pod{}, fmt.Errorf("pod %q: %w", w.Name, err)
	}
	return statefulroute.Pod{Name: w.Name, Address: address, Weight: max(w.Weight, 1), Zone: zone, State: state, Avoid: w.Avoid}, nil
}

func encodeSources(sources []statefulroute.SessionSource) []wireSource {
	out := make([]wireSource, len(sources))
	for i, s := range sources {
		out[i] = wireSource{Kind: string(s.Kind), Name: s.Name, Params: s.Params}
	}
	return out
}

func decodeSources(sources []wireSource) []statefulroute.SessionSource {
	if len(sources) == 0 {
		return nil
	}
	out := make([]statefulroute.SessionSource, len(sources))
	for i, s := range sources {
		out[i] = statefulroute.SessionSource{Kind: statefulroute.SourceKind(s.Kind), Name: s.Name, Params: s.Params}
	}
	return out
}

func toStruct(v any) (*structpb.Struct, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode metadata: %w", err)
	}
	s := &structpb.Struct{}
	if err := s.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("encode metadata: %w", err)
	}
	return s, nil
}

func fromStruct(s *structpb.Struct, v any) error {
	if s == nil {
		return errors.New("no " + Namespace + " metadata")
	}
	raw, err := s.MarshalJSON()
	if err != nil {
		return fmt.Errorf("decode metadata: %w", err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("decode metadata: %w", err)
	}
	return nil
}
