package valkeystore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/shared"
)

// arbiter is one incarnation of a Store.
type arbiter struct {
	store   *Store
	client  valkey.Client
	id      string
	scripts map[string]script
}

// Incarnation implements shared.Arbiter.
func (a *arbiter) Incarnation() string { return a.id }

// call runs a script and returns what it answers.
func (a *arbiter) call(ctx context.Context, name string, args ...string) ([]valkey.ValkeyMessage, error) {
	began := time.Now()
	cmd := a.client.B().Evalsha().Sha1(a.scripts[name].sha).Numkeys(1).Key(a.store.key).
		Arg(a.store.opts.Replica).Arg(args...).Build()
	found, err := a.client.Do(ctx, cmd).ToArray()
	err = meaning(found, err)
	a.store.opts.OnCall(name, time.Since(began), err)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", name, err)
	}
	return found, nil
}

// meaning finds out what keeps a script from its work.
func meaning(found []valkey.ValkeyMessage, err error) error {
	if err != nil {
		said, ok := valkey.IsValkeyErr(err)
		switch {
		case ok && said.IsNoScript(), ok && strings.HasPrefix(said.Error(), "READONLY"):
			return shared.ErrLost
		case ok && strings.HasPrefix(said.Error(), "OOM"):
			return errors.Join(statefulroute.ErrFull, err)
		}
		return err
	}
	if len(found) == 0 {
		return nil
	}
	first := found[0]
	if first.IsArray() { // a list of replies
		inner, err := first.ToArray()
		if err != nil || len(inner) == 0 {
			return err
		}
		first = inner[0]
	}
	if code, err := first.ToString(); err == nil { // else it is none
		return refusals[code]
	}
	return nil
}

// refusals are what a script answers that does not do its work.
var refusals = map[string]error{
	"lost":         shared.ErrLost,
	"stepped":      shared.ErrLost, // the server's clock was set: sessions may have expired too early
	"unregistered": shared.ErrUnregistered,
}

// recovering is what scripts that change something answer until the store is open.
const recovering = "recovering"

// reply runs a script that answers with one reply.
func (a *arbiter) reply(ctx context.Context, service, key, name string, args ...string) (shared.Reply, error) {
	found, err := a.call(ctx, name, args...)
	if err != nil {
		return shared.Reply{}, err
	}
	return toReply(service, key, found)
}

// replies runs a script that answers with a reply for each key.
func (a *arbiter) replies(ctx context.Context, service string, keys []string, name string, args ...string) ([]shared.Reply, error) {
	found, err := a.call(ctx, name, args...)
	if err != nil {
		return nil, err
	}
	out := make([]shared.Reply, len(keys))
	for i := range keys {
		one := found[min(i, len(found)-1)] // one for all: it was refused as a whole
		fields, err := one.ToArray()
		if err != nil {
			return nil, fmt.Errorf("store: %s: %w", name, err)
		}
		if out[i], err = toReply(service, keys[i], fields); err != nil {
			return nil, fmt.Errorf("store: %s: %w", name, err)
		}
	}
	return out, nil
}

// toReply reads {code, position, pod, epoch, previous, created, seen, requests, entry}.
func toReply(service, key string, f []valkey.ValkeyMessage) (r shared.Reply, err error) {
	code, err := f[0].ToString()
	switch {
	case err != nil:
		return r, err
	case code == recovering:
		return r, shared.ErrRecovering
	case len(f) != 9:
		return r, fmt.Errorf("an answer of %d fields to %q", len(f), code)
	}
	n := numbers{}
	r = shared.Reply{Code: shared.Code(code), Position: uint64(n.of(f[1])), Entry: uint64(n.of(f[8]))}
	b := &r.Binding
	b.Service, b.Key = service, key
	b.Pod, b.PreviousPod = n.text(f[2]), n.text(f[4])
	b.Epoch, b.Requests = uint64(n.of(f[3])), uint64(n.of(f[7]))
	if b.Pod != "" {
		b.Created, b.LastSeen = time.UnixMilli(n.of(f[5])), time.UnixMilli(n.of(f[6]))
	}
	return r, n.err
}

// numbers reads fields and keeps the first error.
type numbers struct{ err error }

func (n *numbers) of(m valkey.ValkeyMessage) int64 {
	v, err := m.AsInt64()
	n.err = errors.Join(n.err, err)
	return v
}

func (n *numbers) text(m valkey.ValkeyMessage) string {
	v, err := m.ToString()
	n.err = errors.Join(n.err, err)
	return v
}

func (n *numbers) pods(m valkey.ValkeyMessage) (out []shared.PodName) {
	names, err := m.AsStrSlice()
	n.err = errors.Join(n.err, err)
	for _, name := range names {
		service, pod, _ := strings.Cut(name, "\x00")
		out = append(out, shared.PodName{Service: service, Pod: pod})
	}
	return out
}

func millis(d time.Duration) string { return strconv.FormatInt(max(d.Milliseconds(), 1), 10) }

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// Claim implements shared.Arbiter.
func (a *arbiter) Claim(ctx context.Context, service, key, pod string, most uint32, ttl time.Duration) (shared.Reply, error) {
	return a.reply(ctx, service, key, "claim", service, key, pod, millis(ttl), number(uint64(most)))
}

// Rebind implements shared.Arbiter.
func (a *arbiter) Rebind(ctx context.Context, old statefulroute.Binding, to string, most uint32, ttl time.Duration) (shared.Reply, error) {
	return a.reply(ctx, old.Service, old.Key, "rebind", old.Service, old.Key, old.Pod, number(old.Epoch), to, millis(ttl), number(uint64(most)))
}

// Change implements shared.Arbiter.
func (a *arbiter) Change(ctx context.Context, service string, keys []string, epoch uint64, to string, ttl time.Duration) ([]shared.Reply, error) {
	return a.replies(ctx, service, keys, "change", append([]string{service, number(epoch), to, millis(ttl)}, keys...)...)
}

// Finish implements shared.Arbiter.
func (a *arbiter) Finish(ctx context.Context, service string, keys []string, entry uint64) ([]shared.Reply, error) {
	return a.replies(ctx, service, keys, "finish", append([]string{service, number(entry)}, keys...)...)
}

// Fence implements shared.Arbiter.
func (a *arbiter) Fence(ctx context.Context, service, pod string) (shared.Reply, error) {
	return a.reply(ctx, service, "", "fence", service, pod)
}

// Unfence implements shared.Arbiter.
func (a *arbiter) Unfence(ctx context.Context, service, pod string, empty bool) (bool, error) {
	found, err := a.call(ctx, "unfence", service, pod, flag(empty))
	if err != nil {
		return false, err
	}
	code, err := found[0].ToString()
	if code == recovering {
		err = shared.ErrRecovering
	}
	return code == "open", err
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Refresh implements shared.Arbiter.
func (a *arbiter) Refresh(ctx context.Context, position uint64, uses []shared.Use) ([]shared.Reply, error) {
	args := make([]string, 1, 1+10*len(uses))
	args[0] = number(position)
	keys := make([]string, len(uses))
	for i := range uses {
		u := &uses[i]
		b := &u.Binding
		keys[i] = b.Key
		args = append(args, b.Service, b.Key, b.Pod, number(b.Epoch), b.PreviousPod,
			strconv.FormatInt(b.Created.UnixMilli(), 10), strconv.FormatInt(b.LastSeen.UnixMilli(), 10),
			number(b.Requests), millis(u.TTL), flag(u.PutBack))
	}
	out, err := a.replies(ctx, "", keys, "refresh", args...)
	for i := range out {
		out[i].Binding.Service = uses[i].Binding.Service
	}
	return out, err
}

// Peek implements shared.Arbiter.
func (a *arbiter) Peek(ctx context.Context, service, key string) (shared.Reply, error) {
	return a.reply(ctx, service, key, "peek", service, key)
}

// List implements shared.Arbiter.
func (a *arbiter) List(ctx context.Context, service, pod, cursor string, limit int) (page []statefulroute.Binding, next string, err error) {
	found, err := a.call(ctx, "list", service, pod, cursor, strconv.Itoa(limit))
	if err != nil {
		return nil, "", err
	}
	n := numbers{}
	next = n.text(found[0])
	for i := 1; i+1 < len(found); i += 2 {
		fields, err := found[i+1].ToArray()
		if err != nil {
			return nil, "", fmt.Errorf("store: list: %w", err)
		}
		r, err := toReply(service, n.text(found[i]), fields)
		if err != nil {
			return nil, "", fmt.Errorf("store: list: %w", err)
		}
		page = append(page, r.Binding)
	}
	return page, next, n.err
}

// Pods implements shared.Arbiter.
func (a *arbiter) Pods(ctx context.Context) ([]shared.PodName, error) {
	found, err := a.call(ctx, "pods")
	if err != nil {
		return nil, err
	}
	n := numbers{}
	var out []shared.PodName
	for i := 1; i+1 < len(found); i += 2 {
		out = append(out, shared.PodName{Service: n.text(found[i]), Pod: n.text(found[i+1])})
	}
	return out, n.err
}

// Count implements shared.Arbiter.
func (a *arbiter) Count(ctx context.Context) ([]shared.Count, error) {
	found, err := a.call(ctx, "count")
	if err != nil {
		return nil, err
	}
	n := numbers{}
	var out []shared.Count
	for i := 1; i+2 < len(found); i += 3 {
		out = append(out, shared.Count{
			PodName: shared.PodName{Service: n.text(found[i]), Pod: n.text(found[i+1])}, Sessions: int(n.of(found[i+2])),
		})
	}
	return out, n.err
}

// Join implements shared.Arbiter.
func (a *arbiter) Join(ctx context.Context, position uint64, of string, fresh bool, info shared.Info) (shared.Joined, error) {
	at := number(position)
	if fresh {
		at = "-1"
	}
	told, err := json.Marshal(info)
	if err != nil {
		return shared.Joined{}, fmt.Errorf("store: join: %w", err)
	}
	found, err := a.call(ctx, "join", at, of, string(told))
	if err != nil {
		return shared.Joined{}, err
	}
	n := numbers{}
	j := shared.Joined{Behind: n.text(found[0]) == "behind", Position: uint64(n.of(found[1])), Open: n.text(found[2]) == "open"}
	j.Fenced, j.Votes = n.pods(found[3]), n.pods(found[4])
	return j, n.err
}

// Renew implements shared.Arbiter.
func (a *arbiter) Renew(ctx context.Context, info shared.Info) (shared.Register, error) {
	told, err := json.Marshal(info)
	if err != nil {
		return shared.Register{}, fmt.Errorf("store: renew: %w", err)
	}
	found, err := a.call(ctx, "renew", string(told))
	if err != nil {
		return shared.Register{}, err
	}
	n := numbers{}
	r := shared.Register{Position: uint64(n.of(found[1])), Open: n.text(found[2]) == "open"}
	r.Votes = n.pods(found[6])
	var maps [3]map[string]string
	for i := range maps {
		if maps[i], err = found[3+i].AsStrMap(); err != nil {
			return shared.Register{}, fmt.Errorf("store: renew: %w", err)
		}
	}
	for id, at := range maps[1] {
		m := shared.Member{ID: id}
		m.Position, _ = strconv.ParseUint(at, 10, 64)
		m.Beats, _ = strconv.ParseUint(maps[0][id], 10, 64)
		if err := json.Unmarshal([]byte(maps[2][id]), &m.Info); err != nil {
			m.Info = shared.Info{} // another version's: it is only shown
		}
		r.Members = append(r.Members, m)
	}
	return r, n.err
}

// Acted implements shared.Arbiter.
func (a *arbiter) Acted(ctx context.Context, position uint64) error {
	_, err := a.call(ctx, "acted", number(position))
	return err
}

// Ready implements shared.Arbiter.
func (a *arbiter) Ready(ctx context.Context, waited bool, highest uint64) (open bool, err error) {
	found, err := a.call(ctx, "ready", flag(waited), number(highest))
	if err != nil {
		return false, err
	}
	code, err := found[0].ToString()
	return code == "open", err
}

// Leave implements shared.Arbiter.
func (a *arbiter) Leave(ctx context.Context, replica string, beats uint64) error {
	seen := ""
	if beats > 0 {
		seen = number(beats)
	}
	_, err := a.call(ctx, "leave", replica, seen)
	return err
}

// logBatch bounds the entries that are read at once.
const logBatch = 1000

// Log implements shared.Arbiter.
func (a *arbiter) Log(ctx context.Context, after uint64, wait time.Duration) ([]shared.Entry, error) {
	stream := strings.TrimSuffix(a.store.key, "store") + "log:" + a.id
	cmd := a.client.B().Xread().Count(logBatch).Block(max(wait.Milliseconds(), 1)).Streams().Key(stream).Id(number(after) + "-0").Build()
	found, err := a.client.Do(ctx, cmd).AsXRead()
	if valkey.IsValkeyNil(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: log: %w", err)
	}
	out := make([]shared.Entry, 0, len(found[stream]))
	for _, x := range found[stream] {
		e, err := toEntry(x)
		if err != nil {
			return nil, fmt.Errorf("store: log: %w", err)
		}
		out = append(out, e)
	}
	return out, nil
}

// toEntry reads an entry, whose id is its position.
func toEntry(x valkey.XRangeEntry) (shared.Entry, error) {
	position, err := strconv.ParseUint(strings.TrimSuffix(x.ID, "-0"), 10, 64)
	if err != nil {
		return shared.Entry{}, fmt.Errorf("entry %q: %w", x.ID, err)
	}
	e := shared.Entry{
		Position: position, Kind: shared.Kind(x.FieldValues["kind"]),
		Service: x.FieldValues["service"], Pod: x.FieldValues["pod"], Keep: x.FieldValues["keep"],
	}
	if keys, ok := x.FieldValues["keys"]; ok {
		if e.Keys, err = toKeys(keys); err != nil {
			return shared.Entry{}, fmt.Errorf("entry %q: %w", x.ID, err)
		}
	}
	return e, nil
}

// toKeys reads keys of which each is preceded by its length and a colon.
func toKeys(text string) (keys []string, err error) {
	for text != "" {
		length, rest, _ := strings.Cut(text, ":")
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > len(rest) {
			return nil, fmt.Errorf("keys that end with %q", text)
		}
		keys, text = append(keys, rest[:n]), rest[n:]
	}
	return keys, nil
}
