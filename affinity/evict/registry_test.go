package evict

import (
	"strings"
	"testing"
)

func TestRegistry(t *testing.T) {
	r := NewRegistry()
	if err := r.Register("lru", func() Strategy { return lruStrategy{} }); err == nil {
		t.Error("a name was taken twice")
	}
	if err := r.Register("", func() Strategy { return lruStrategy{} }); err == nil {
		t.Error("no name was accepted")
	}
	if _, err := r.New("mru"); err == nil || !strings.Contains(err.Error(), "adaptive, lfu, lru, ttl") {
		t.Errorf("an unknown strategy: %v", err)
	}
}
