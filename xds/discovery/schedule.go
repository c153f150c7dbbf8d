package discovery

import (
	"time"

	"github.com/stateful-route/stateful-route/internal/dnsttl"
)

const (
	// shortestLife and longestLife bound for how long an answer is believed: TTLs of 0
	// are common, and who corrects a record that has a day's is not to wait for a day.
	shortestLife = time.Second
	longestLife  = time.Minute
	// untoldLife is for answers without a TTL: a name of /etc/hosts may have another
	// address any time.
	untoldLife = 5 * time.Second
	// A failure is tried again after shortestRetry, then after twice as long each time.
	shortestRetry = time.Second
	longestRetry  = 10 * time.Second
)

// life is for how long an answer is true, if it is told.
type life struct {
	ttl  time.Duration
	told bool
}

// lifeOf is the shortest life that answers tell.
func lifeOf(answers ...dnsttl.Answer) (l life) {
	for _, a := range answers {
		if a.Told && (!l.told || a.TTL < l.ttl) {
			l = life{a.TTL, true}
		}
	}
	return l
}

// schedule decides when a name is looked up again. It is a value, and pure.
type schedule struct {
	due   time.Time
	retry time.Duration // of the failure before; 0: it was none
}

// after is what becomes of it by a look-up that ended now. That a name does not exist
// is a failure that is no failure of the name server: it has said for how long.
func (s schedule) after(now time.Time, l life, err error) schedule {
	switch {
	case l.told:
		return schedule{due: now.Add(min(max(l.ttl, shortestLife), longestLife))}
	case err == nil:
		return schedule{due: now.Add(untoldLife)}
	}
	retry := min(max(2*s.retry, shortestRetry), longestRetry)
	return schedule{due: now.Add(retry), retry: retry}
}
