package shared

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// unended is a change that was begun.
type unended struct {
	at      *incarnation
	service string
	keys    []string
	entry   uint64
}

// Move binds a session to a pod, whatever it was bound to. When it returns, that is in
// force at all replicas. It takes a few milliseconds or, where a replica has died or
// stopped, as long as its lease lasts.
func (t *Table) Move(ctx context.Context, service, key, to string, _ time.Time) (statefulroute.Binding, error) {
	replies, err := t.change(ctx, service, []string{key}, 0, to)
	if err != nil {
		return statefulroute.Binding{}, unavailable(err)
	}
	if replies[0].Code == Choice {
		return statefulroute.Binding{}, statefulroute.ErrPodRefused
	}
	return replies[0].Binding, nil
}

var errUnconfirmed = fmt.Errorf("%w: the store has not confirmed the binding", statefulroute.ErrUnavailable)

// Reassign moves exactly the given binding to another pod; ErrConflict comes with the one
// that is in force instead. A session that has no binding any more is bound to the pod.
func (t *Table) Reassign(ctx context.Context, old statefulroute.Binding, to string, _ time.Time) (statefulroute.Binding, error) {
	if old.Epoch == 0 {
		return old, errUnconfirmed // 0 would be any binding to the store
	}
	ctx, cancel := context.WithTimeout(ctx, t.opts.CallTimeout)
	defer cancel()
	replies, err := t.change(ctx, old.Service, []string{old.Key}, old.Epoch, to)
	if err != nil {
		return statefulroute.Binding{}, unavailable(err)
	}
	switch r := replies[0]; {
	case r.Code == Choice:
		return r.Binding, statefulroute.ErrPodRefused
	case r.Code == Conflict || r.Binding.Pod != to:
		return r.Binding, statefulroute.ErrConflict
	default:
		return r.Binding, nil
	}
}

// Delete forgets a session. When it returns, no replica knows it. ErrGone: there was none.
func (t *Table) Delete(ctx context.Context, service, key string) error {
	n, err := t.forget(ctx, service, []string{key}, 0)
	if err == nil && n == 0 {
		return statefulroute.ErrGone
	}
	return err
}

// forget has the sessions forgotten that are bound, of the epoch if that is not 0, and returns
// how many there were. What it has begun is ended, be it later.
func (t *Table) forget(ctx context.Context, service string, keys []string, epoch uint64) (n int, err error) {
	at := t.now.Load()
	if at == nil {
		return 0, errNoLease
	}
	begun, err := t.beginToForget(ctx, at, service, keys, epoch)
	n = len(begun.keys)
	switch {
	case n == 0:
		return 0, err
	case err != nil:
		t.endLater(begun)
		return n, err
	}
	return n, t.finish(ctx, begun)
}

// beginToForget returns what it has begun, also with an error. The log's last entry of it
// stands for those before.
func (t *Table) beginToForget(ctx context.Context, at *incarnation, service string, keys []string, epoch uint64) (begun unended, err error) {
	begun = unended{at: at, service: service}
	for again := keys; len(again) > 0; {
		replies, err := at.arbiter.Change(ctx, service, again, epoch, "", t.ttl(service))
		if err != nil {
			return begun, unavailable(err)
		}
		var waited uint64
		var left []string
		for i, r := range replies {
			switch r.Code {
			case Begun:
				begun.keys, begun.entry = append(begun.keys, again[i]), r.Entry
			case Changing:
				left, waited = append(left, again[i]), r.Entry
			}
		}
		if again = left; len(left) > 0 {
			if err := t.acted(ctx, at, waited); err != nil {
				return begun, unavailable(err)
			}
		}
	}
	return begun, nil
}

// finish ends a change once all replicas have acted on it; one that cannot be ended now
// is later.
func (t *Table) finish(ctx context.Context, u unended) error {
	err := t.acted(ctx, u.at, u.entry)
	if err == nil {
		_, err = u.at.arbiter.Finish(ctx, u.service, u.keys, u.entry)
	}
	if err != nil {
		t.endLater(u)
		return unavailable(err)
	}
	return nil
}

// endLater has endChanges end a change.
func (t *Table) endLater(u unended) {
	t.ending.Lock()
	defer t.ending.Unlock()
	t.unended = append(t.unended, u)
}

// endChanges ends changes that were begun. Those of an incarnation before never will be.
func (t *Table) endChanges(ctx context.Context, at *incarnation) error {
	t.ending.Lock()
	all := t.unended
	t.unended = nil
	t.ending.Unlock()
	var left []unended
	var errs []error
	for _, u := range all {
		if u.at != at {
			continue
		}
		replies, err := at.arbiter.Finish(ctx, u.service, u.keys, u.entry)
		if err != nil || replies[0].Code == Changing {
			left = append(left, u)
			errs = append(errs, err)
		}
	}
	for _, u := range left {
		t.endLater(u)
	}
	return errors.Join(errs...)
}

// change moves sessions and returns what they are bound to then.
func (t *Table) change(ctx context.Context, service string, keys []string, epoch uint64, to string) ([]Reply, error) {
	at := t.now.Load()
	if at == nil {
		return nil, errNoLease
	}
	for {
		replies, err := at.arbiter.Change(ctx, service, keys, epoch, to, t.ttl(service))
		if err != nil {
			return nil, err
		}
		switch r := replies[0]; r.Code {
		case Begun:
			if err := t.acted(ctx, at, r.Entry); err != nil {
				t.endLater(unended{at, service, keys, r.Entry})
				return nil, err
			}
			replies, err := at.arbiter.Finish(ctx, service, keys, r.Entry)
			for _, r := range replies {
				t.saw(r.Binding.Epoch)
			}
			return replies, err
		case Changing:
			if err := t.acted(ctx, at, r.Entry); err != nil {
				return nil, err
			}
		default:
			return replies, nil
		}
	}
}

// endWithin is how long the answer to a request that ends its session waits for replicas.
const endWithin = 50 * time.Millisecond

// End forgets exactly the given binding; ErrGone if it is another or none. All replicas
// act on it in the time of a few calls; should one not, End returns, and no replica answers from
// the store what is to be forgotten.
func (t *Table) End(ctx context.Context, old statefulroute.Binding, _ time.Time) error {
	if old.Epoch == 0 {
		return t.endUnconfirmed(old)
	}
	ctx, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	n, err := t.forget(ctx, old.Service, []string{old.Key}, old.Epoch)
	switch {
	case n > 0:
		return nil
	case err == nil:
		return statefulroute.ErrGone
	}
	return err
}

// endUnconfirmed forgets a binding that was made while nobody could be asked. The store was
// not told of it, and may have another one, which is not what has ended.
func (t *Table) endUnconfirmed(old statefulroute.Binding) error {
	t.keeping.Lock()
	defer t.keeping.Unlock()
	mine, ok := t.local.Peek(old.Service, old.Key, time.Now())
	if !ok || mine.Epoch != provisional || mine.Pod != old.Pod {
		return statefulroute.ErrGone
	}
	t.uses.revoke(old.Service, old.Key)
	t.local.Delete(old.Service, old.Key)
	return nil
}

// Peek shows a session without using it. InFlight counts this replica's requests only.
func (t *Table) Peek(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	at := t.now.Load()
	if at == nil {
		return statefulroute.Binding{}, errNoLease
	}
	r, err := at.arbiter.Peek(ctx, service, key)
	switch {
	case err != nil:
		return r.Binding, unavailable(err)
	case r.Code == None:
		return r.Binding, statefulroute.ErrGone
	}
	t.addLocal(&r.Binding, now)
	return r.Binding, nil
}

// addLocal adds what only this replica knows.
func (t *Table) addLocal(b *statefulroute.Binding, now time.Time) {
	mine, ok := t.local.Peek(b.Service, b.Key, now)
	if !ok || mine.Epoch != b.Epoch {
		return
	}
	b.InFlight = mine.InFlight
	if mine.LastSeen.After(b.LastSeen) {
		b.LastSeen = mine.LastSeen
	}
	b.Requests = max(b.Requests, mine.Requests)
}

// Remembered knows no evicted sessions: those that a replica evicts the store still has.
func (t *Table) Remembered(context.Context, string, string, time.Time) (string, error) {
	return "", statefulroute.ErrGone
}

// cursor says where a list goes on.
type cursor struct {
	Service string `json:"s"`
	Pod     string `json:"p"`
	In      string `json:"i"` // of the store, for the pod
}

func (c cursor) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		return "" // texts always encode
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseCursor(text string) (c cursor, err error) {
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(decoded, &c)
	}
	if err != nil || c.In == "" {
		return c, statefulroute.ErrCursor
	}
	return c, nil
}

// List returns sessions of all replicas, about limit of them, by service and pod. One that
// exists all the while comes at least once; one that is moved meanwhile may come twice.
func (t *Table) List(ctx context.Context, service, pod string, limit int, after string) (page []statefulroute.Binding, next string, err error) {
	from := cursor{In: "0"}
	if after != "" {
		if from, err = parseCursor(after); err != nil {
			return nil, "", err
		}
	}
	at := t.now.Load()
	if at == nil {
		return nil, "", errNoLease
	}
	pods, err := t.podsFrom(ctx, at.arbiter, service, pod, from)
	if err != nil {
		return nil, "", unavailable(err)
	}
	now := time.Now()
	for i, p := range pods {
		if p != (PodName{from.Service, from.Pod}) {
			from = cursor{p.Service, p.Pod, "0"}
		}
		for {
			some, in, err := at.arbiter.List(ctx, p.Service, p.Pod, from.In, max(limit-len(page), 1))
			if err != nil {
				return nil, "", unavailable(err)
			}
			for _, b := range some {
				t.addLocal(&b, now)
				page = append(page, b)
			}
			from.In = in
			if in == "0" {
				break
			}
			if len(page) >= limit {
				return page, from.String(), nil
			}
		}
		if len(page) >= limit && i+1 < len(pods) {
			return page, cursor{pods[i+1].Service, pods[i+1].Pod, "0"}.String(), nil
		}
	}
	return page, "", nil
}

// podsFrom are the pods that a list has to show, from the one where it goes on.
func (t *Table) podsFrom(ctx context.Context, a Arbiter, service, pod string, from cursor) ([]PodName, error) {
	pods, err := a.Pods(ctx)
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	first := PodName{from.Service, from.Pod}
	var out []PodName
	for _, p := range pods {
		if (service == "" || p.Service == service) && (pod == "" || p.Pod == pod) && comparePods(p, first) >= 0 {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, comparePods)
	return out, nil
}

func comparePods(a, b PodName) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Pod, b.Pod))
}

// flushPage is how many sessions are forgotten with one entry of the log.
const flushPage = 500

// Flush forgets all sessions of a service and returns how many.
func (t *Table) Flush(ctx context.Context, service string) (n int, err error) {
	for {
		page, next, err := t.List(ctx, service, "", flushPage, "")
		if err != nil {
			return n, err
		}
		keys := make([]string, len(page))
		for i := range page {
			keys[i] = page[i].Key
		}
		forgot, err := t.forget(ctx, service, keys, 0)
		if n += forgot; err != nil || next == "" || forgot == 0 {
			return n, err
		}
	}
}
