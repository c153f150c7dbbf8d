package discovery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
)

const (
	// confirmEvery is the pause between two reports to the keeper that a list still
	// holds.
	confirmEvery = time.Minute
	// patience bounds the wait for what a source says first: a start or a reload waits
	// with it.
	patience = 10 * time.Second
)

// follower follows the source of one service's pods. One goroutine does all that
// changes it; begin, start and stop have one caller, the manager's.
type follower struct {
	owner      *Manager
	service    statefulroute.Service
	discoverer Discoverer
	log        *zap.Logger
	accepts    chan chan error

	cancel  context.CancelFunc // nil: it does not run
	inForce chan struct{}      // closed when what it finds may be put into force

	mu        sync.Mutex
	done      chan struct{} // closed when the goroutine has ended
	hold      hold
	watched   bool      // the last list is true until there is another
	confirmed time.Time // when the source said last what is accepted
	failure   error     // of the last reading, or of putting it into force
	restored  bool      // what is served is another run's or another source's
}

func newFollower(owner *Manager, svc statefulroute.Service, from Config) *follower {
	log := owner.Logger.With(zap.String("service", svc.Name), zap.Stringer("source", from))
	return &follower{
		owner: owner, service: svc, log: log, accepts: make(chan chan error),
		discoverer: from.NewDiscoverer(Options{Logger: log, Resolver: owner.Resolver}),
		hold:       hold{period: svc.Pods.Hold},
	}
}

// inherit begins with what is known by the service's follower before this one. Of
// the same source all is known; another's list is served until this one speaks.
func (f *follower) inherit(before *follower) {
	before.mu.Lock()
	defer before.mu.Unlock()
	if SourceName(before.service.Pods) != SourceName(f.service.Pods) {
		f.fallBack(before.hold.served, before.confirmed)
		return
	}
	period := f.hold.period
	f.hold, f.confirmed, f.restored = before.hold, before.confirmed, before.restored
	f.hold.period = period
}

// restore begins with the list of the run before.
func (f *follower) restore(kept KeptPods) {
	if kept.Source != SourceName(f.service.Pods) {
		f.fallBack(kept.Pods, kept.Confirmed)
		return
	}
	f.hold.accepted, f.hold.served = kept.Pods, kept.Pods
	f.confirmed, f.restored = kept.Confirmed, true
}

// fallBack serves a list that is not this source's. The first list of its own is not
// held against it: an operator chose the new source.
func (f *follower) fallBack(pods []statefulroute.Pod, confirmed time.Time) {
	f.hold.served, f.confirmed, f.restored = pods, confirmed, true
}

// begin waits for what the source says first. Nobody hears of it before start.
func (f *follower) begin(ctx context.Context) {
	begun := make(chan struct{})
	f.launch(ctx, func(ctx context.Context, updates <-chan Update) {
		defer close(begun)
		f.first(ctx, updates)
	})
	<-begun
}

// start has what the source says put into force until stop.
func (f *follower) start(ctx context.Context) {
	if f.cancel == nil {
		f.launch(ctx, func(context.Context, <-chan Update) {})
	}
	close(f.inForce)
}

func (f *follower) launch(ctx context.Context, begin func(context.Context, <-chan Update)) {
	ctx, f.cancel = context.WithCancel(ctx)
	inForce, done := make(chan struct{}), make(chan struct{})
	f.inForce = inForce
	f.mu.Lock()
	f.done = done
	f.mu.Unlock()
	go func() {
		defer close(done)
		updates := make(chan Update)
		var discovery sync.WaitGroup
		defer discovery.Wait()
		discovery.Go(func() { f.discoverer.Run(ctx, updates) })
		begin(ctx, updates)
		select {
		case <-inForce:
			f.run(ctx, updates)
		case <-ctx.Done():
		}
	}()
}

// stop returns when the follower has said its last word.
func (f *follower) stop() {
	if f.cancel == nil {
		return
	}
	f.cancel()
	<-f.done
	f.cancel = nil
}

func (f *follower) first(ctx context.Context, updates <-chan Update) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	u := Update{Err: fmt.Errorf("no answer within %v", patience)}
	select {
	case u = <-updates:
	case <-timer.C:
	case <-ctx.Done():
		u.Err = ctx.Err()
	}
	f.heard(ctx, time.Now(), u, func([]statefulroute.Pod) error { return nil })
}

func (f *follower) run(ctx context.Context, updates <-chan Update) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	set := func(pods []statefulroute.Pod) error { return f.owner.Set(ctx, f.service.Name, f.service.Pods, pods) }
	for {
		timer.Reset(f.wait(time.Now()))
		select {
		case <-ctx.Done():
			return
		case u := <-updates:
			if ctx.Err() != nil {
				return
			}
			f.heard(ctx, time.Now(), u, set)
		case reply := <-f.accepts:
			reply <- f.accept(set)
		case <-timer.C:
			f.passed(ctx, time.Now(), set)
		}
		f.keep(time.Now())
	}
}

// wait is how long nothing is due.
func (f *follower) wait(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	ripe, ok := f.hold.ripens()
	if !ok {
		return confirmEvery
	}
	var soonest time.Duration
	if f.failure != nil { // it is due, and could not be put into force
		soonest = time.Second
	}
	return min(confirmEvery, max(soonest, ripe.Sub(now)))
}

// heard books what the source says.
func (f *follower) heard(ctx context.Context, now time.Time, u Update, set func([]statefulroute.Pod) error) {
	before := f.state()
	if u.Err != nil {
		f.failed(before.failed(), u.Err)
		return
	}
	next := before.list
	if u.Partial {
		next = before.part
	}
	f.become(ctx, before, next(now, u.Pods), now, set)
	f.mu.Lock()
	f.watched = u.Watched
	f.mu.Unlock()
}

// passed books that time has passed.
func (f *follower) passed(ctx context.Context, now time.Time, set func([]statefulroute.Pod) error) {
	before := f.state()
	if next := before.at(now); !next.since.Equal(before.since) {
		f.become(ctx, before, next, now, set)
	}
}

func (f *follower) state() hold {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hold
}

// become puts what the hold decided into force.
func (f *follower) become(ctx context.Context, before, next hold, now time.Time, set func([]statefulroute.Pod) error) {
	if !slices.Equal(before.served, next.served) {
		if err := set(next.served); err != nil {
			if ctx.Err() == nil {
				f.failed(next.refused(before), err)
			}
			return
		}
	}
	f.mu.Lock()
	recovered := f.failure != nil
	f.hold, f.failure = next, nil
	if !next.doubtful() {
		f.confirmed, f.restored = now, false
	}
	f.mu.Unlock()
	if recovered {
		f.log.Info("pods are read again", zap.Int("pods", len(next.served)))
	}
	f.tellOfLoss(before, next)
}

func (f *follower) tellOfLoss(before, next hold) {
	l := next.loss()
	switch {
	case next.doubtful() && !before.doubtful():
		f.log.Warn("the source lost more than half of its pods at once: they are kept until it has said so for a while, or until `routectl pods accept "+f.service.Name+"`",
			zap.Int("kept", l.Kept), zap.Int("of", l.Of), zap.Int("listed", l.Listed), zap.Time("until", l.Until))
	case l != nil && !before.held():
		f.log.Info("the source's list lacks pods, which may be there all the same: they are kept for a while",
			zap.Int("kept", l.Kept), zap.Int("of", l.Of), zap.Int("listed", l.Listed), zap.Time("until", l.Until))
	case l == nil && before.held():
		f.log.Info("the source's list is believed again", zap.Int("pods", len(next.served)), zap.Int("gone", missing(before.served, next.served)))
	}
}

// failed books that the last good list stays, and says why unless it was said.
func (f *follower) failed(next hold, err error) {
	f.mu.Lock()
	said := f.failure != nil && f.failure.Error() == err.Error()
	f.hold, f.failure = next, err
	f.mu.Unlock()
	if !said && next.served != nil {
		f.log.Error("pods not updated: the last list stays", zap.Error(err))
	}
}

// acceptLoss hands an operator's word to the follower's goroutine.
func (f *follower) acceptLoss(ctx context.Context) error {
	reply := make(chan error, 1)
	f.mu.Lock()
	done := f.done
	f.mu.Unlock()
	select {
	case f.accepts <- reply:
		return <-reply
	case <-done:
		return fmt.Errorf("service %q: %w", f.service.Name, ErrNothingHeld)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *follower) accept(set func([]statefulroute.Pod) error) error {
	before := f.state()
	if !before.held() {
		return fmt.Errorf("service %q: %w", f.service.Name, ErrNothingHeld)
	}
	next := before.accept()
	if err := set(next.served); err != nil {
		return fmt.Errorf("service %q: %w", f.service.Name, err)
	}
	f.mu.Lock()
	f.hold, f.restored = next, false
	if next.current {
		f.confirmed = time.Now()
	}
	f.mu.Unlock()
	f.log.Info("an operator accepts the loss of pods", zap.Int("pods", len(next.served)), zap.Int("gone", missing(before.served, next.served)))
	return nil
}

// keep hands what is accepted to the keeper.
func (f *follower) keep(now time.Time) {
	if f.owner.Keeper == nil {
		return
	}
	f.mu.Lock()
	kept := KeptPods{Source: SourceName(f.service.Pods), Confirmed: f.confirmedLocked(now), Pods: f.hold.accepted}
	f.mu.Unlock()
	if kept.Pods != nil {
		f.owner.Keeper.KeepPods(f.service.Name, kept)
	}
}

// confirmedLocked is when the source said last what is accepted.
func (f *follower) confirmedLocked(now time.Time) time.Time {
	if f.watched && f.failure == nil && !f.restored && !f.hold.doubtful() {
		return now
	}
	return f.confirmed
}

func (f *follower) status(now time.Time) *Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &Status{Source: SourceName(f.service.Pods), State: stateGood, Restored: f.restored, Held: f.hold.loss()}
	if f.hold.doubtful() {
		out.State = stateHeld
	}
	if f.failure != nil {
		out.Error = f.failure.Error()
		if out.State = stateStale; f.hold.served == nil {
			out.State = stateMissing
		}
	}
	if out.State != stateGood && !f.confirmed.IsZero() {
		out.Age = now.Sub(f.confirmed).Seconds()
	}
	return out
}
