package xds

import (
	"errors"
	"fmt"
	"net/http"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/adminhttp"
	"github.com/stateful-route/stateful-route/xds/discovery"
	"github.com/stateful-route/stateful-route/xds/state"
)

// PodReport is a pod as the admin API shows it.
type PodReport struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Zone    string `json:"zone"`
	State   string `json:"state"`
	Weight  uint32 `json:"weight"`
	// Avoided pods are ready, but new sessions go elsewhere where they can: the pod
	// flaps, or is only just back.
	Avoided bool `json:"avoided,omitempty"`
	// InFlight, ResponseTime, ErrorRate and Sessions come from the load
	// reports of Envoys and extprocs; 0 before the first.
	InFlight     int64   `json:"in_flight"`
	ResponseTime float64 `json:"response_time_seconds"`
	ErrorRate    float64 `json:"error_rate"`
	Sessions     int64   `json:"sessions"`
}

// ServiceReport is a service as the admin API shows it.
type ServiceReport struct {
	Name          string         `json:"name"`
	Hosts         []string       `json:"hosts"`
	Prefix        string         `json:"prefix"`
	Strategy      string         `json:"strategy"`
	OnPodLoss     string         `json:"on_pod_loss"`
	OnExtprocLoss string         `json:"on_extproc_loss"`
	OnStoreLoss   string         `json:"on_store_loss"`
	Pods          map[string]int `json:"pods"` // how many in each state
	// Source is how the source of its pods does; absent where the list is static.
	Source *discovery.Status `json:"source,omitempty"`
}

// OverrideReport is a pod as an override left it. The override is in force whether it was
// saved or not.
type OverrideReport struct {
	PodReport
	// Saved is whether the override outlives xds-server. Error says why not; without
	// one, no state file is configured.
	Saved bool   `json:"saved"`
	Error string `json:"error,omitempty"`
}

// LoadReader tells what the load reports say of a pod.
type LoadReader interface {
	Load(service, pod string) statefulroute.Load
}

// Admin answers the part of the admin API that is about services, pods and
// xDS clients.
type Admin struct {
	Server *Server
	Loads  LoadReader
	// Sources tells how the sources of pods do; nil tells nothing.
	Sources *discovery.Manager
}

// Register adds the API's paths to mux.
func (a *Admin) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/services", a.services)
	mux.HandleFunc("GET /api/v1/services/{service}/pods", a.pods)
	mux.HandleFunc("GET /api/v1/envoys", a.envoys)
	mux.HandleFunc("POST /api/v1/services/{service}/pods/accept", a.accept)
	for verb, state := range map[string]statefulroute.PodState{
		"drain": statefulroute.Draining, "ready": statefulroute.Ready, "maintenance": statefulroute.Maintenance,
	} {
		mux.HandleFunc("POST /api/v1/services/{service}/pods/{pod}/"+verb, a.override(state))
	}
}

func (a *Admin) services(w http.ResponseWriter, _ *http.Request) {
	out := []ServiceReport{}
	for _, svc := range a.Server.Model().Services {
		out = append(out, a.serviceReport(svc))
	}
	adminhttp.WriteJSON(w, http.StatusOK, out)
}

func (a *Admin) serviceReport(svc *state.ServiceView) ServiceReport {
	r := ServiceReport{
		Name: svc.Name, Hosts: svc.Hosts, Prefix: svc.Prefix, Strategy: svc.Balancing.Strategy,
		OnPodLoss: string(svc.Session.OnPodLoss), OnExtprocLoss: string(svc.Session.OnExtprocLoss),
		OnStoreLoss: string(svc.Session.OnStoreLoss),
		Pods:        map[string]int{}, Source: a.Sources.Status(svc.Name),
	}
	for _, m := range svc.Members {
		r.Pods[m.State.String()]++
	}
	return r
}

// accept is an operator's word that a source has really lost the pods.
func (a *Admin) accept(w http.ResponseWriter, r *http.Request) {
	service := r.PathValue("service")
	if _, ok := a.Server.Model().Service(service); !ok {
		adminhttp.WriteError(w, http.StatusNotFound, fmt.Errorf("no service %q", service))
		return
	}
	err := a.Sources.Accept(r.Context(), service)
	switch {
	case errors.Is(err, discovery.ErrNothingHeld):
		adminhttp.WriteError(w, http.StatusConflict, err)
	case err != nil:
		adminhttp.WriteError(w, http.StatusInternalServerError, err)
	default:
		a.answerService(w, service)
	}
}

func (a *Admin) answerService(w http.ResponseWriter, name string) {
	svc, ok := a.Server.Model().Service(name)
	if !ok {
		adminhttp.WriteError(w, http.StatusNotFound, fmt.Errorf("no service %q", name))
		return
	}
	adminhttp.WriteJSON(w, http.StatusOK, a.serviceReport(svc))
}

func (a *Admin) pods(w http.ResponseWriter, r *http.Request) {
	svc, ok := a.Server.Model().Service(r.PathValue("service"))
	if !ok {
		adminhttp.WriteError(w, http.StatusNotFound, fmt.Errorf("no service %q", r.PathValue("service")))
		return
	}
	adminhttp.WriteJSON(w, http.StatusOK, a.PodReports(svc))
}

// PodReports joins a service's pods with what the load reports say of them.
func (a *Admin) PodReports(svc *state.ServiceView) []PodReport {
	out := make([]PodReport, 0, len(svc.Members))
	for _, m := range svc.Members {
		load := a.Loads.Load(svc.Name, m.Name)
		out = append(out, PodReport{
			Name: m.Name, Address: m.Address.String(), Zone: m.Zone, State: m.State.String(), Weight: m.EffectiveWeight, Avoided: m.Avoid,
			InFlight: load.InFlight, ResponseTime: load.ResponseTime.Seconds(), ErrorRate: load.ErrorRate, Sessions: load.Sessions,
		})
	}
	return out
}

func (a *Admin) envoys(w http.ResponseWriter, _ *http.Request) {
	adminhttp.WriteJSON(w, http.StatusOK, a.Server.Clients())
}

func (a *Admin) override(to statefulroute.PodState) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		service, pod := r.PathValue("service"), r.PathValue("pod")
		err := a.Server.SetOverride(r.Context(), service, pod, to)
		switch {
		case errors.Is(err, state.ErrUnknownPod):
			adminhttp.WriteError(w, http.StatusNotFound, err)
		case err != nil && !errors.Is(err, state.ErrNotSaved):
			adminhttp.WriteError(w, http.StatusInternalServerError, err)
		default:
			a.answerOverride(w, service, pod, err)
		}
	}
}

// answerOverride shows the pod as the override left it: a drained pod that is unhealthy
// stays unhealthy. An override that could not be saved is in force all the same, so
// the answer is a good one and says so.
func (a *Admin) answerOverride(w http.ResponseWriter, service, pod string, notSaved error) {
	if svc, ok := a.Server.Model().Service(service); ok {
		for _, r := range a.PodReports(svc) {
			if r.Name == pod {
				out := OverrideReport{PodReport: r, Saved: notSaved == nil && a.Server.keeps()}
				if notSaved != nil {
					out.Error = notSaved.Error()
				}
				adminhttp.WriteJSON(w, http.StatusOK, out)
				return
			}
		}
	}
	adminhttp.WriteError(w, http.StatusNotFound, fmt.Errorf("pod %q of service %q: %w", pod, service, state.ErrUnknownPod))
}
