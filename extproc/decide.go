package extproc

import (
	"context"
	"errors"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
)

// placer chooses pods and counts requests in flight on them.
type placer interface {
	// Pick chooses a pod for a session; where all have as many as they may, one that
	// gives up another session for it.
	Pick(now time.Time, key string, evict func(pod string) bool) (balancing.PickResult, error)
	Start(now time.Time, pod string) (balancing.PickResult, error)
	Home(key string) (pod string, ok bool)
}

// outcome is the kind of decision taken for a request.
type outcome uint8

const (
	// unbound: no session key; Envoy balances the request.
	unbound outcome = iota
	// known: the session had a binding and goes to its pod.
	known
	// claimed: the session was new and is now bound to a chosen pod.
	claimed
	// joined: another request of the same new session claimed first.
	joined
	// rebound: the session's pod was lost and it is now bound to another.
	rebound
	// atHome: the table would not take the binding; the request goes to the
	// key's home, where every replica sends it, without being bound.
	atHome
	// podLost: the session's pod was lost and its service says reject.
	podLost
	// noPods: no pod takes the session.
	noPods
	// undecidable: the table could not say whose the session is, and the service's
	// on_store_loss says deny.
	undecidable
	// moving: the session is being given another pod.
	moving
)

// Why a session's pod is lost, as counted and logged.
const (
	lostRemoved     = "removed"
	lostUnhealthy   = "unhealthy"
	lostMaintenance = "maintenance"
	lostElsewhere   = "elsewhere" // another replica holds it for lost
)

// decision is where one request goes and what was done for it.
type decision struct {
	outcome outcome
	key     string               // that of the request's candidates which was decided for
	hit     bool                 // the table had a binding before this request
	pod     *podView             // nil where no pod was chosen
	epoch   uint64               // of the binding to pod; 0 where there is none, or it has none
	picked  balancing.PickResult // in flight on pod until Done
	lost    string               // the pod lost, for rebound and podLost
	why     string               // why it was lost
	err     error                // why there are no pods, or what the table said
}

// decide says where a request that names its session by one of keys goes: one that is
// bound wins over one that is not, and only where none is bound the first is claimed.
// It is a function of the service as it stands, the table, the balancer and now;
// whatever the table says about a first writer holds, so concurrent first requests of
// one session end on one pod. A request without keys is unbound.
func (s *service) decide(ctx context.Context, table Table, place placer, keys []string, now time.Time) decision {
	if len(keys) == 0 {
		return decision{outcome: unbound}
	}
	c := chooser{ctx: ctx, service: s, table: table, place: place, key: keys[0], now: now}
	b, err := c.lookup(keys)
	d := c.found(b, err)
	d.key = c.key
	return d
}

// found decides by what a look-up said.
func (c *chooser) found(b statefulroute.Binding, err error) decision {
	switch {
	case err == nil:
		d := c.follow(b, known)
		d.hit = true
		return d
	case errors.Is(err, statefulroute.ErrGone):
		return c.claim()
	case errors.Is(err, statefulroute.ErrPodLost):
		return c.lost(b, lostElsewhere)
	}
	return c.unanswered(b, err)
}

// chooser holds what every step of one decision needs.
type chooser struct {
	ctx     context.Context // of the request
	service *service
	table   Table
	place   placer
	key     string
	now     time.Time
	tries   int
	refused []string // pods that the table would not bind the session to
}

// maxTries bounds the races one request can lose before it takes the last
// binding seen at its word: more means that pods come and go faster than
// requests are decided.
const maxTries = 4

// lookup returns the binding of the first key whose pod serves, else of the first that
// has one, and makes that the key. ErrGone: none has. Where there is one key Claim asks
// whoever has to be asked; of several it must be known which is bound.
func (c *chooser) lookup(keys []string) (statefulroute.Binding, error) {
	found, err := c.first(keys, c.table.Lookup)
	if len(keys) > 1 && errors.Is(err, statefulroute.ErrGone) {
		return c.first(keys, c.table.Find)
	}
	return found, err
}

func (c *chooser) first(keys []string, ask func(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error)) (found statefulroute.Binding, err error) {
	err = statefulroute.ErrGone
	for _, key := range keys {
		b, said := ask(c.ctx, c.service.policy.Name, key, c.now)
		switch {
		case errors.Is(said, statefulroute.ErrGone):
		case said == nil && c.servedBy(b) != nil:
			c.key = key
			return b, nil
		case errors.Is(err, statefulroute.ErrGone) || found.Pod == "" && b.Pod != "":
			c.key, found, err = key, b, said
		}
	}
	return found, err
}

// servedBy returns the pod of a binding; nil where that may not be sent its sessions.
func (c *chooser) servedBy(b statefulroute.Binding) *podView {
	if pod := c.service.pod(b.Pod); pod != nil && pod.State.ServesBound() {
		return pod
	}
	return nil
}

// claim binds a session without a binding to a chosen pod.
func (c *chooser) claim() decision {
	picked, err := c.pick()
	if err != nil {
		return c.noPods(decision{outcome: noPods, err: err})
	}
	b, err := c.table.Claim(c.ctx, c.service.policy.Name, c.key, picked.Pod(), c.service.policy.Balancing.MaxSessions, c.now)
	if err == nil {
		return c.taken(decision{outcome: claimed, picked: picked}, b)
	}
	picked.Cancel()
	switch {
	case errors.Is(err, statefulroute.ErrConflict):
		return c.follow(b, joined)
	case errors.Is(err, statefulroute.ErrPodLost):
		return c.lost(b, lostElsewhere)
	case errors.Is(err, statefulroute.ErrPodRefused):
		if c.refuse(picked.Pod()) {
			return c.claim()
		}
		return decision{outcome: noPods, err: err}
	case errors.Is(err, statefulroute.ErrFull):
		return c.home(err)
	}
	return c.unanswered(b, err)
}

// noPods is for a session that is not known here and for which there is no pod: somebody
// else may know its pod.
func (c *chooser) noPods(d decision) decision {
	b, err := c.table.Find(c.ctx, c.service.policy.Name, c.key, c.now)
	if err == nil && c.servedBy(b) != nil {
		return c.follow(b, joined)
	}
	return d
}

// refuse notes that a pod takes no session whatever is known of it here, and reports
// whether another may be tried.
func (c *chooser) refuse(pod string) bool {
	c.tries++
	c.refused = append(c.refused, pod)
	return c.tries <= maxTries
}

// unanswered decides without the table, which may have said what it knew last.
func (c *chooser) unanswered(b statefulroute.Binding, why error) decision {
	switch {
	case errors.Is(why, statefulroute.ErrChanging):
		return decision{outcome: moving, err: why}
	case c.service.policy.Session.OnStoreLoss == statefulroute.DenyStoreLoss:
		return decision{outcome: undecidable, err: why}
	case b.Pod != "" && c.servedBy(b) != nil:
		d := c.follow(b, known)
		d.hit = true
		c.table.Remember(c.service.policy.Name, c.key, b.Pod, c.now)
		return d
	}
	d := c.home(why)
	if d.pod != nil {
		c.table.Remember(c.service.policy.Name, c.key, d.pod.Name, c.now)
	}
	return d
}

// pick chooses a pod for the session. One that was used only once, as an id that
// somebody made up, gives up its place to it.
func (c *chooser) pick() (balancing.PickResult, error) {
	if len(c.refused) > 0 {
		return c.pickOther()
	}
	ctx, table, service, now := c.ctx, c.table, c.service.policy.Name, c.now // so that c need not be kept
	return c.place.Pick(c.now, c.key, func(pod string) bool { return table.GiveUp(ctx, service, pod, now) })
}

// pickOther chooses one of the pods that were not refused, by the key.
func (c *chooser) pickOther() (balancing.PickResult, error) {
	var left []string
	for name, pod := range c.service.pods {
		if pod.State.TakesNew() && !slices.Contains(c.refused, name) {
			left = append(left, name)
		}
	}
	if len(left) == 0 {
		return balancing.PickResult{}, statefulroute.ErrPodRefused
	}
	slices.Sort(left)
	return c.place.Start(c.now, left[len(c.key)%len(left)])
}

// taken completes a decision by the binding b to the pod that was picked. A pod that left
// between the pick and now is replaced whatever on_pod_loss says: no request of
// the session has reached it.
func (c *chooser) taken(d decision, b statefulroute.Binding) decision {
	if d.pod, d.epoch = c.service.chosen(d.picked.Pod()), b.Epoch; d.pod != nil {
		return d
	}
	d.picked.Cancel()
	return c.rebind(b, lostRemoved)
}

// follow sends the session to the pod of its binding, or deals with its loss.
func (c *chooser) follow(b statefulroute.Binding, as outcome) decision {
	if pod := c.servedBy(b); pod != nil {
		picked, _ := c.place.Start(c.now, b.Pod) // for an unknown pod it counts nothing
		return decision{outcome: as, pod: pod, epoch: b.Epoch, picked: picked}
	}
	return c.lost(b, lostBecause(c.service.pod(b.Pod)))
}

// lost deals with the loss of a session's pod as on_pod_loss says.
func (c *chooser) lost(b statefulroute.Binding, why string) decision {
	if c.service.policy.Session.OnPodLoss == statefulroute.Reject {
		return decision{outcome: podLost, lost: b.Pod, why: why}
	}
	return c.rebind(b, why)
}

func lostBecause(pod *podView) string {
	switch {
	case pod == nil:
		return lostRemoved
	case pod.State == statefulroute.Maintenance:
		return lostMaintenance
	}
	return lostUnhealthy
}

// rebind replaces a binding whose pod is lost, and only that: whoever replaced
// it first is followed.
func (c *chooser) rebind(old statefulroute.Binding, why string) decision {
	c.tries++
	if c.tries > maxTries {
		return decision{outcome: podLost, lost: old.Pod, why: why}
	}
	picked, err := c.pick()
	if err != nil {
		return decision{outcome: noPods, lost: old.Pod, why: why, err: err}
	}
	b, err := c.table.Rebind(c.ctx, old, picked.Pod(), c.service.policy.Balancing.MaxSessions, c.now)
	if err == nil {
		return c.taken(decision{outcome: rebound, picked: picked, lost: old.Pod, why: why}, b)
	}
	picked.Cancel()
	switch {
	case errors.Is(err, statefulroute.ErrConflict):
		return c.follow(b, known)
	case errors.Is(err, statefulroute.ErrGone): // a new session again
		return c.claim()
	case errors.Is(err, statefulroute.ErrPodLost):
		return c.rebind(b, lostElsewhere)
	case errors.Is(err, statefulroute.ErrPodRefused):
		if c.refuse(picked.Pod()) {
			return c.rebind(old, why)
		}
		return decision{outcome: noPods, lost: old.Pod, why: why, err: err}
	}
	return c.unanswered(statefulroute.Binding{}, err)
}

// home serves a session that the table would not take.
func (c *chooser) home(why error) decision {
	name, ok := c.place.Home(c.key)
	pod := c.service.chosen(name)
	if !ok || pod == nil {
		return decision{outcome: noPods, err: why}
	}
	picked, _ := c.place.Start(c.now, name) // for an unknown pod it counts nothing
	return decision{outcome: atHome, pod: pod, picked: picked, err: why}
}
