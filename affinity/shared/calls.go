package shared

import "sync"

// calls are those under way for sessions. A reply that is older than a revocation of its
// session which was acted on meanwhile says what was, and must not be kept.
type calls struct {
	mu       sync.Mutex
	underWay map[sessionName]*call
}

type call struct {
	n       int
	revoked uint64 // position of the last revocation
}

func (c *calls) begin(service, key string) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.underWay == nil {
		c.underWay = map[sessionName]*call{}
	}
	name := sessionName{service, key}
	one := c.underWay[name]
	if one == nil {
		one = &call{}
		c.underWay[name] = one
	}
	one.n++
	return one
}

func (c *calls) end(service, key string, one *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one.n--; one.n == 0 {
		delete(c.underWay, sessionName{service, key})
	}
}

func (c *calls) revoke(service, key string, position uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.underWay[sessionName{service, key}]; one != nil {
		one.revoked = position
	}
}

func (c *calls) revokedAfter(one *call, position uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return one.revoked > position
}
