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

// confirmEvery is the pause between two reports to the keeper that a list still
// holds.
const confirmEvery = time.Minute

// SourceStatus is how the source of a service's pods does, as the admin API
// shows it.
type SourceStatus struct {
	// Source is the kind, and the file or name.
	Source string `json:"source"`
	// State is good; held: pods that the source lost at once are kept for a while;
	// stale: the source cannot be read and its last good list is served; missing:
	// it cannot be read and never could be.
	State string `json:"state"`
	// Error is why it cannot be read.
	Error string `json:"error,omitempty"`
	// Age is how long ago the source said last what is served; 0 while it is good.
	Age float64 `json:"age_seconds"`
	// Restored means that the list is from the run before: the source was not
	// read since.
	Restored bool `json:"restored,omitempty"`
	// Held is the loss that is not believed yet.
	Held *HeldLoss `json:"held,omitempty"`
}

// HeldLoss is a loss of pods that is not believed yet.
type HeldLoss struct {
	// Kept is how many pods are served though the source lacks them, Of how many
	// there were, Listed how many the source lists now.
	Kept   int `json:"kept"`
	Of     int `json:"of"`
	Listed int `json:"listed"`
	// Since is when the source first lacked them, Until when it is believed.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// Note says in a sentence what is the matter; empty while all is good.
func (s *SourceStatus) Note() string {
	if s == nil {
		return ""
	}
	switch s.State {
	case sourceHeld:
		return fmt.Sprintf("%s lost %d of %d pods at once: they are kept until %s",
			s.Source, s.Held.Kept, s.Held.Of, s.Held.Until.UTC().Format(time.TimeOnly+" MST"))
	case sourceStale:
		note := "its last good list is served"
		if s.Restored {
			note = "the list of the run before is served"
		}
		return fmt.Sprintf("%s cannot be read, %s, %v old: %s", s.Source, note, time.Duration(s.Age)*time.Second, s.Error)
	case sourceMissing:
		return fmt.Sprintf("%s cannot be read, there are no pods: %s", s.Source, s.Error)
	}
	return ""
}

// The values of SourceStatus.State.
const (
	sourceGood    = "good"
	sourceHeld    = "held"
	sourceStale   = "stale"
	sourceMissing = "missing"
)

// SourceStates are the values of SourceStatus.State.
func SourceStates() []string { return []string{sourceGood, sourceHeld, sourceStale, sourceMissing} }

// feed follows the source of one service's pods. One goroutine does all that
// changes it.
type feed struct {
	owner   *Sources
	service statefulroute.Service
	from    source
	log     *zap.Logger
	accepts chan chan error

	mu        sync.Mutex
	cancel    context.CancelFunc
	done      chan struct{}
	custody   custody
	confirmed time.Time // when the source said last what is accepted
	failure   error     // of the last reading, or of putting it into force
	restored  bool      // what is served is another run's or another source's
}

func newFeed(owner *Sources, svc statefulroute.Service, from source) *feed {
	return &feed{
		owner: owner, service: svc, from: from, accepts: make(chan chan error),
		log:     owner.Logger.With(zap.String("service", svc.Name), zap.String("source", SourceName(svc.Pods))),
		custody: custody{hold: svc.Pods.Hold},
	}
}

// inherit begins with what is known of the service's feed before this one. Of
// the same source all is known; another's list is served until this one speaks.
func (f *feed) inherit(before *feed) {
	before.mu.Lock()
	defer before.mu.Unlock()
	if SourceName(before.service.Pods) != SourceName(f.service.Pods) {
		f.fallBack(before.custody.served, before.confirmed)
		return
	}
	hold := f.custody.hold
	f.custody, f.confirmed, f.restored = before.custody, before.confirmed, before.restored
	f.custody.hold = hold
}

// restore begins with the list of the run before.
func (f *feed) restore(kept KeptPods) {
	if kept.Source != SourceName(f.service.Pods) {
		f.fallBack(kept.Pods, kept.Confirmed)
		return
	}
	f.custody.accepted, f.custody.served = kept.Pods, kept.Pods
	f.confirmed, f.restored = kept.Confirmed, true
}

// fallBack serves a list that is not this source's. The first answer is not held
// against it: an operator chose the new source.
func (f *feed) fallBack(pods []statefulroute.Pod, confirmed time.Time) {
	f.custody.served, f.confirmed, f.restored = pods, confirmed, true
}

// begin reads the source for the first time.
func (f *feed) begin(ctx context.Context) {
	f.from.settle(ctx)
	pods, err := f.from.read(ctx)
	f.heard(ctx, time.Now(), pods, err, func([]statefulroute.Pod) error { return nil })
}

// start follows the source until stop.
func (f *feed) start(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	f.mu.Lock()
	f.cancel, f.done = cancel, done
	f.mu.Unlock()
	go func() {
		defer close(done)
		f.run(ctx)
	}()
}

// stop returns when the feed has said its last word.
func (f *feed) stop() {
	f.mu.Lock()
	cancel, done := f.cancel, f.done
	f.mu.Unlock()
	cancel()
	<-done
}

func (f *feed) run(ctx context.Context) {
	look := make(chan struct{}, 1)
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		f.from.follow(ctx, func() {
			select {
			case look <- struct{}{}:
			default:
			}
		}, func(err error) { f.log.Error("pods are looked for now and then only", zap.Error(err)) })
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	set := func(pods []statefulroute.Pod) error { return f.owner.Set(ctx, f.service.Name, f.service.Pods, pods) }
	for {
		timer.Reset(f.wait(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-look:
			pods, err := f.from.read(ctx)
			if ctx.Err() != nil {
				return
			}
			f.heard(ctx, time.Now(), pods, err, set)
		case reply := <-f.accepts:
			reply <- f.believe(set)
		case <-timer.C:
			f.passed(ctx, time.Now(), set)
		}
		f.keep(time.Now())
	}
}

// wait is how long nothing is due.
func (f *feed) wait(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, held := f.custody.loss()
	if !held || !f.custody.spoke {
		return confirmEvery
	}
	var soonest time.Duration
	if f.failure != nil { // it is due, and could not be put into force
		soonest = time.Second
	}
	return min(confirmEvery, max(soonest, l.Until.Sub(now)))
}

// heard books a reading of the source.
func (f *feed) heard(ctx context.Context, now time.Time, pods []statefulroute.Pod, err error, set func([]statefulroute.Pod) error) {
	before := f.look()
	if err != nil {
		f.failed(before.failed(), err)
		return
	}
	f.become(ctx, before, before.answer(now, pods), now, set)
}

// passed books that time has passed.
func (f *feed) passed(ctx context.Context, now time.Time, set func([]statefulroute.Pod) error) {
	before := f.look()
	if next := before.at(now); before.held() && !next.held() {
		f.become(ctx, before, next, now, set)
	}
}

func (f *feed) look() custody {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.custody
}

// become puts what the custody decided into force.
func (f *feed) become(ctx context.Context, before, next custody, now time.Time, set func([]statefulroute.Pod) error) {
	if !slices.Equal(before.served, next.served) {
		if err := set(next.served); err != nil {
			if ctx.Err() == nil {
				f.failed(next.unserved(before), err)
			}
			return
		}
	}
	f.mu.Lock()
	recovered := f.failure != nil
	f.custody, f.failure = next, nil
	if !next.held() {
		f.confirmed, f.restored = now, false
	}
	f.mu.Unlock()
	if recovered {
		f.log.Info("pods are read again", zap.Int("pods", len(next.served)))
	}
	f.tellOfLoss(before, next)
}

func (f *feed) tellOfLoss(before, next custody) {
	l, held := next.loss()
	switch {
	case held && !before.held():
		f.log.Warn("the source lost more than half of its pods at once: they are kept until it has said so for a while, or until `routectl pods accept "+f.service.Name+"`",
			zap.Int("kept", l.Kept), zap.Int("of", l.Of), zap.Int("listed", l.Listed), zap.Time("until", l.Until))
	case !held && before.held():
		f.log.Info("the source's list is believed again", zap.Int("pods", len(next.served)), zap.Int("gone", missing(before.served, next.served)))
	}
}

// failed books that the last good list stays, and says why unless it was said.
func (f *feed) failed(next custody, err error) {
	f.mu.Lock()
	said := f.failure != nil && f.failure.Error() == err.Error()
	f.custody, f.failure = next, err
	f.mu.Unlock()
	if !said && next.served != nil {
		f.log.Error("pods not updated: the last list stays", zap.Error(err))
	}
}

// accept hands an operator's word to the feed's goroutine.
func (f *feed) accept(ctx context.Context) error {
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

func (f *feed) believe(set func([]statefulroute.Pod) error) error {
	before := f.look()
	if !before.held() {
		return fmt.Errorf("service %q: %w", f.service.Name, ErrNothingHeld)
	}
	next := before.believe()
	if err := set(next.served); err != nil {
		return fmt.Errorf("service %q: %w", f.service.Name, err)
	}
	f.mu.Lock()
	f.custody, f.restored = next, false
	if next.spoke {
		f.confirmed = time.Now()
	}
	f.mu.Unlock()
	f.log.Info("an operator believes the loss of pods", zap.Int("pods", len(next.served)), zap.Int("gone", missing(before.served, next.served)))
	return nil
}

// keep hands what is accepted to the keeper.
func (f *feed) keep(now time.Time) {
	if f.owner.Keeper == nil {
		return
	}
	f.mu.Lock()
	kept := KeptPods{Source: SourceName(f.service.Pods), Confirmed: f.confirmedLocked(now), Pods: f.custody.accepted}
	f.mu.Unlock()
	if kept.Pods != nil {
		f.owner.Keeper.KeepPods(f.service.Name, kept)
	}
}

// confirmedLocked is when the source said last what is accepted. A file that is
// watched goes on saying what was read.
func (f *feed) confirmedLocked(now time.Time) time.Time {
	if f.failure == nil && !f.restored && !f.custody.held() && f.service.Pods.File != "" {
		return now
	}
	return f.confirmed
}

func (f *feed) status(now time.Time) *SourceStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &SourceStatus{Source: SourceName(f.service.Pods), State: sourceGood, Restored: f.restored}
	l, held := f.custody.loss()
	if held {
		out.State, out.Held = sourceHeld, &HeldLoss{l.Kept, l.Of, l.Listed, l.Since, l.Until}
	}
	if f.failure != nil {
		out.Error = f.failure.Error()
		if out.State = sourceStale; f.custody.served == nil {
			out.State = sourceMissing
		}
	}
	if out.State != sourceGood && !f.confirmed.IsZero() {
		out.Age = now.Sub(f.confirmed).Seconds()
	}
	return out
}
