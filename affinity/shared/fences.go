package shared

import (
	"context"
	"errors"
	"maps"
)

// vote is that this replica found a pod lost.
type vote struct {
	told chan struct{} // closed when the store was told, or could not be
	err  error
}

func (v *vote) isTold() bool {
	select {
	case <-v.told:
		return true
	default:
		return false
	}
}

// vote has all replicas know that a pod is lost, if this one has not said so before.
func (t *Table) vote(ctx context.Context, pod PodName) error {
	at := t.now.Load()
	if at == nil {
		return errNoLease
	}
	t.voting.Lock()
	v := t.votes[pod]
	mine := v == nil
	if mine {
		v = &vote{told: make(chan struct{})}
		t.votes[pod] = v
	}
	t.voting.Unlock()
	if !mine {
		select {
		case <-v.told:
			return v.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	called, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.opts.CallTimeout) // others wait for it, too
	defer cancel()
	if _, v.err = at.arbiter.Fence(called, pod.Service, pod.Pod); v.err != nil {
		t.withdraw(pod, v)
	}
	close(v.told)
	return v.err
}

func (t *Table) withdraw(pod PodName, v *vote) {
	t.voting.Lock()
	defer t.voting.Unlock()
	if t.votes[pod] == v {
		delete(t.votes, pod)
	}
}

// forgetVotes is for when the store may not know them any more.
func (t *Table) forgetVotes() {
	t.voting.Lock()
	defer t.voting.Unlock()
	clear(t.votes)
}

// learnVotes adds what the store knows: this replica may have given a vote up that came late.
func (t *Table) learnVotes(known []PodName) {
	t.voting.Lock()
	defer t.voting.Unlock()
	for _, pod := range known {
		if t.votes[pod] == nil {
			v := &vote{told: make(chan struct{})}
			close(v.told)
			t.votes[pod] = v
		}
	}
}

// reviewVotes takes back what this replica said of pods that it may send sessions to again,
// and of pods that have no session left.
func (t *Table) reviewVotes(ctx context.Context, a Arbiter) error {
	t.voting.Lock()
	mine := maps.Clone(t.votes)
	t.voting.Unlock()
	var errs []error
	for pod, v := range mine {
		if !v.isTold() {
			continue // what is taken back now could arrive first
		}
		serves := t.opts.Serves(pod.Service, pod.Pod)
		called, cancel := context.WithTimeout(ctx, t.opts.CallTimeout)
		open, err := a.Unfence(called, pod.Service, pod.Pod, !serves)
		cancel()
		errs = append(errs, err)
		if err == nil && (open || serves) {
			t.withdraw(pod, v)
		}
	}
	return errors.Join(errs...)
}
