package main

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/maypok86/otter/v2"

	"github.com/stateful-route/stateful-route/affinity"
)

// table is what is compared: look a session up, and bind it if it is not there.
type table interface {
	serve(key string, now time.Time)
}

type peer struct {
	name string
	make func() (table, error)
}

func peers() []peer {
	return []peer{
		{"lru", ours("lru")},
		{"lfu", ours("lfu")},
		{"ttl", ours("ttl")},
		{"adaptive", ours("adaptive")},
		{"expirable", newExpirable},
		{"simplelru", func() (table, error) { return newSimple(1) }},
		{"simplelru×256", func() (table, error) { return newSimple(256) }},
		{"otter", newOtter},
	}
}

func peerNames() (names []string) {
	for _, p := range peers() {
		names = append(names, p.name)
	}
	return names
}

type affinityTable struct{ table *affinity.Table }

func ours(strategy string) func() (table, error) {
	return func() (table, error) {
		table, err := affinity.New(affinity.Options{Strategy: strategy, Capacity: bindings})
		return affinityTable{table}, err
	}
}

func (t affinityTable) serve(key string, now time.Time) {
	if _, ok := t.table.Lookup("chat", key, now); !ok {
		_, _, _ = t.table.Claim("chat", key, "chat-0", now) // ttl refuses
	}
}

// record is what a user of a general cache would keep for a session.
type record struct {
	pod               string
	created, lastSeen int64
	requests          uint64
}

func newRecord(now time.Time) *record { return &record{pod: "chat-0", created: now.UnixNano()} }

type expirableTable struct {
	lru *expirable.LRU[string, *record]
}

func newExpirable() (table, error) {
	return expirableTable{expirable.NewLRU[string, *record](bindings, nil, 30*time.Minute)}, nil
}

func (t expirableTable) serve(key string, now time.Time) {
	if _, ok := t.lru.Get(key); !ok {
		t.lru.Add(key, newRecord(now))
	}
}

// simpleTable is simplelru in locked shards, with nothing of ours.
type simpleTable []simpleShard

type simpleShard struct {
	mu  sync.Mutex
	lru *simplelru.LRU[string, *record]
	_   [64]byte
}

func newSimple(shards int) (table, error) {
	t := make(simpleTable, shards)
	for i := range t {
		var err error
		if t[i].lru, err = simplelru.NewLRU[string, *record](bindings/shards, nil); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t simpleTable) serve(key string, now time.Time) {
	h := uint64(14695981039346656037) // FNV-1a of the key's end
	for i := len(key) - 8; i < len(key); i++ {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	s := &t[h>>40%uint64(len(t))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.lru.Get(key); ok {
		r.lastSeen = now.UnixNano()
		r.requests++
		return
	}
	s.lru.Add(key, newRecord(now))
}

type otterTable struct {
	cache *otter.Cache[string, *record]
}

func newOtter() (table, error) {
	c, err := otter.New(&otter.Options[string, *record]{
		MaximumSize: bindings, ExpiryCalculator: otter.ExpiryAccessing[string, *record](30 * time.Minute),
	})
	return otterTable{c}, err
}

func (t otterTable) serve(key string, now time.Time) {
	if _, ok := t.cache.GetIfPresent(key); !ok {
		t.cache.Set(key, newRecord(now))
	}
}
