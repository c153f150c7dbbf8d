package epoch

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// DefaultSessions is of how many sessions a Guard keeps the epoch unless it is told
// otherwise.
const DefaultSessions = 100_000

// Guard keeps the highest epoch of each session, for what is no http.Handler, such as an
// interceptor of gRPC. Its methods may be called concurrently.
//
// It keeps a bounded number of sessions, some 150 bytes each whatever their keys are, and
// forgets those that were admitted longest ago. Of a session that it has forgotten it
// admits any epoch: with room for all sessions that a pod has in the time for which a
// router may be outdated, seconds, that is none that matters.
type Guard struct {
	mu      sync.Mutex
	highest *simplelru.LRU[[16]byte, uint64] // by a hash of the key
}

// NewGuard returns a Guard for that many sessions; 0 means DefaultSessions.
func NewGuard(sessions int) (*Guard, error) {
	if sessions < 0 {
		return nil, fmt.Errorf("epoch: %d sessions", sessions)
	}
	if sessions == 0 {
		sessions = DefaultSessions
	}
	highest, err := simplelru.NewLRU[[16]byte, uint64](sessions, nil)
	if err != nil {
		return nil, fmt.Errorf("epoch: %w", err)
	}
	return &Guard{highest: highest}, nil
}

// Admit reports whether a request of a session with an epoch may be served: not if a
// request with a higher one was admitted before. It returns the highest.
func (g *Guard) Admit(session string, epoch uint64) (highest uint64, ok bool) {
	sum := sha256.Sum256([]byte(session))
	key := [16]byte(sum[:])
	g.mu.Lock()
	defer g.mu.Unlock()
	if highest, _ := g.highest.Get(key); epoch < highest {
		return highest, false
	}
	g.highest.Add(key, epoch)
	return epoch, true
}
