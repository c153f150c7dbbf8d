package extproc

import (
	"net/netip"
	"reflect"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
)

// FastPath is what Envoys read to answer for known sessions themselves, a *fastpath.Table.
// It says how services and pods stand; the sessions it gets from the session table, see
// Table.Show.
type FastPath interface {
	// Activate has Envoys read it, in place of what an earlier process left them. By then it
	// is to have the sessions that were restored.
	Activate() error
	// SetService has Envoys handle the requests of a service by its policy.
	SetService(svc statefulroute.Service) error
	// RemoveService has all of them come to us, and its pods not served.
	RemoveService(name string)
	// SetPod says where a pod of a service that was set is, and whether it may be sent its
	// sessions.
	SetPod(service, pod string, address netip.AddrPort, serving bool) error
	// RemovePod has a pod not be sent its sessions, and forgets it.
	RemovePod(service, pod string)
}

// fastPath brings a FastPath, if there is one, to what the directory has. What is not so
// any more it takes out before the directory changes, and what is new it puts in after: at
// no time Envoys do by themselves what we would not.
type fastPath struct {
	FastPath // may be nil
	log      *zap.Logger
	active   bool
	out      leftOut
}

// activate is called before the first service is served: up to then, what an earlier
// process left is still right, for nobody has changed a binding.
func (f *fastPath) activate() {
	if f.FastPath == nil || f.active {
		return
	}
	f.active = true
	if err := f.Activate(); err != nil {
		f.log.Error("the fast path cannot be used: all requests come to this process", zap.Error(err))
	}
}

// leave is called before a service is replaced by another, or goes: then now is nil.
func (f *fastPath) leave(was, now *service) {
	switch {
	case f.FastPath == nil:
		return
	case now == nil:
		f.RemoveService(was.policy.Name)
		f.out.forget(was.policy.Name)
		return
	case !reflect.DeepEqual(was.policy, now.policy):
		closed := was.policy
		closed.Session.FastPath = false
		f.setService(closed)
	}
	for name, pod := range was.pods {
		switch to := now.pods[name]; {
		case to == nil:
			f.RemovePod(was.policy.Name, name)
			f.out.pod(was.policy.Name, name, nil)
		case pod.State.ServesBound() && (!to.State.ServesBound() || to.Address != pod.Address):
			f.setPod(was.policy.Name, pod, false)
		}
	}
}

// join is called after a service has replaced another, or has come: then was is nil.
func (f *fastPath) join(was, now *service, idle time.Duration) {
	if f.FastPath == nil {
		return
	}
	if was == nil || !reflect.DeepEqual(was.policy, now.policy) {
		f.setIdleTimeout(now, idle)
	}
	for name, pod := range now.pods {
		if was == nil || was.pods[name] == nil || was.pods[name].Address != pod.Address ||
			was.pods[name].State.ServesBound() != pod.State.ServesBound() {
			f.setPod(now.policy.Name, pod, pod.State.ServesBound())
		}
	}
}

// setIdleTimeout sets a service that keeps unused sessions for so long.
func (f *fastPath) setIdleTimeout(s *service, idle time.Duration) {
	if f.FastPath == nil {
		return
	}
	svc := s.policy
	svc.Session.IdleTimeout = idle
	svc.Session.FastPath = s.shows
	f.setService(svc)
}

func (f *fastPath) setService(svc statefulroute.Service) {
	err := f.SetService(svc)
	f.out.service(svc.Name, err)
	if err != nil {
		f.RemoveService(svc.Name)
		f.log.Warn("a service is left out of the fast path: its requests come to this process",
			zap.String("service", svc.Name), zap.Error(err))
	}
}

func (f *fastPath) setPod(service string, pod *podView, serving bool) {
	err := f.SetPod(service, pod.Name, pod.Address, serving)
	f.out.pod(service, pod.Name, err)
	if err != nil {
		f.log.Warn("a pod is left out of the fast path: requests of its sessions come to this process",
			zap.String("service", service), zap.String("pod", pod.Name), zap.Error(err))
	}
}

// show has Envoys answer for the request's session from now on, where they can.
func (x *exchange) show(now time.Time) {
	d := &x.decision
	if x.shown || !x.service.shows || d.pod == nil || d.outcome == atHome {
		return
	}
	x.shown = true
	x.server.table.Show(statefulroute.Binding{Service: x.service.policy.Name, Key: x.key, Pod: d.pod.Name, Epoch: d.epoch}, now)
}
