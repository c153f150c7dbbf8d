package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Override is an operator's word on a pod that outlives xds-server.
type Override struct {
	Service string `json:"service"`
	Pod     string `json:"pod"`
	State   string `json:"state"` // draining or maintenance
}

// OverrideKeeper keeps the overrides in force.
type OverrideKeeper interface {
	// Keep is called from the server's loop and must not wait.
	Keep([]Override)
	// Saved returns when what was to be kept so far is saved, or says why it
	// cannot be.
	Saved(ctx context.Context) error
}

// ErrNotSaved means that an override is in force, but could not be saved: a restart
// would forget it.
var ErrNotSaved = errors.New("in force, but not saved: it ends with xds-server")

// overrideTTL is how long an override outlives the presence of its pod in DNS
// answers: longer than a name server is confused or a pod restarts, shorter than
// the time after which an address is likely somebody else's.
const overrideTTL = 10 * time.Minute

// override is an operator's word on a pod.
type override struct {
	state statefulroute.PodState // Draining or Maintenance
	gone  time.Time              // since when the pod is not among those known; zero if it is
}

// SetOverride is the operator's word on a pod: Draining, Maintenance, or Ready
// to take it back. Unhealthy cannot be overridden.
func (st *Store) SetOverride(service, pod string, state statefulroute.PodState) error {
	if state == statefulroute.Unhealthy {
		return errors.New("unhealthy is what health checks find, not an override")
	}
	if err := st.mustHave(service, pod); err != nil {
		return err
	}
	s := st.touch(service)
	st.overridesChanged = true
	if state == statefulroute.Ready {
		delete(s.overrides, pod)
	} else {
		s.overrides[pod] = override{state: state}
	}
	return nil
}

// expireOverrides drops the overrides on pods that are gone from a service's new list: at
// once where somebody wrote the list, after overrideTTL where DNS answered, whose
// answers may lack a pod that is there.
func (st *Store) expireOverrides(now time.Time, s *serviceState) {
	for pod, o := range s.overrides {
		there := s.index.has(pod)
		if !there && o.gone.IsZero() {
			o.gone = now
		}
		// Answers that say the same are not heard of: it may be long ago.
		done := !o.gone.IsZero() && (s.spec.Pods.Written() || now.Sub(o.gone) >= overrideTTL)
		switch {
		case done:
			delete(s.overrides, pod)
			st.overridesChanged = true
		case there:
			s.overrides[pod] = override{state: o.state}
		default:
			s.overrides[pod] = o
		}
	}
}

// Overrides returns what operators said of the pods, in the order of services and
// then of names; those on pods that are gone for a while are among them.
func (st *Store) Overrides() []Override {
	overrides := []Override{}
	for _, name := range st.layout.names {
		s := st.services[name]
		for _, pod := range slices.Sorted(maps.Keys(s.overrides)) {
			overrides = append(overrides, Override{name, pod, s.overrides[pod].state.String()})
		}
	}
	return overrides
}

// Restore repeats kept overrides. Those on pods that are gone are dropped, but where
// DNS tells the pods: it may not have answered yet.
func (st *Store) Restore(now time.Time, overrides []Override) error {
	st.overridesChanged = true // those on pods that are gone are no longer kept, either
	for _, o := range overrides {
		state, err := statefulroute.ParsePodState(o.State)
		if err == nil {
			err = st.SetOverride(o.Service, o.Pod, state)
		}
		if errors.Is(err, ErrUnknownPod) {
			st.restoreLater(now, o.Service, o.Pod, state)
			continue
		}
		if err != nil {
			return fmt.Errorf("kept override on pod %q of service %q: %w", o.Pod, o.Service, err)
		}
	}
	return nil
}

// restoreLater keeps an override on a pod that is not there, but may come. Its time
// runs from the first answer that lacks it: no answer says nothing.
func (st *Store) restoreLater(now time.Time, service, pod string, state statefulroute.PodState) {
	have := st.services[service]
	if have == nil || have.spec.Pods.Written() || state == statefulroute.Ready {
		return
	}
	o := override{state: state}
	if have.answered {
		o.gone = now
	}
	st.touch(service).overrides[pod] = o
	st.overridesChanged = true
}
