package metrics

import (
	"strings"
	"sync"
	"sync/atomic"
)

// other is the label value of everything past a bound.
const other = "other"

// boundedMap is a map that is read without a lock on every request and written a
// few times in a process's life; it holds at most max entries, and every key
// past them shares the entry named other.
type boundedMap[T any] struct {
	max    int
	create func(key string) T

	current atomic.Pointer[map[string]T]
	mu      sync.Mutex // serialises writers
}

func newBoundedMap[T any](limit int, create func(string) T) *boundedMap[T] {
	h := &boundedMap[T]{max: limit, create: create}
	h.current.Store(&map[string]T{})
	return h
}

func (h *boundedMap[T]) get(key string) T {
	if v, ok := (*h.current.Load())[key]; ok {
		return v
	}
	return h.add(key)
}

func (h *boundedMap[T]) add(key string) T {
	full := *h.current.Load()
	if v, ok := full[key]; ok {
		return v // added since get looked
	}
	if v, ok := full[other]; ok && len(full) > h.max {
		return v // the flood's path takes no lock either
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	current := *h.current.Load()
	if len(current) >= h.max {
		key = other
	}
	if v, ok := current[key]; ok {
		return v
	}
	next := make(map[string]T, len(current)+1)
	for k, v := range current {
		next[k] = v
	}
	// The key may alias a buffer of the request that brought it.
	key = strings.Clone(key)
	next[key] = h.create(key)
	h.current.Store(&next)
	return next[key]
}

// keep drops the entries for which wanted is false. No entry is made meanwhile,
// so wanted may undo what making one did.
func (h *boundedMap[T]) keep(wanted func(key string, v T) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	current := *h.current.Load()
	next := make(map[string]T, len(current))
	for k, v := range current {
		if wanted(k, v) {
			next[k] = v
		}
	}
	if len(next) < len(current) {
		h.current.Store(&next)
	}
}
