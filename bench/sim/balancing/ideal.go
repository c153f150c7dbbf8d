package simulate

import "time"

// Ideal replays the trace through one central queue whose head goes to the fastest
// free slot. A pod that the fault makes slow or failing is not used at all: the
// ideal knows.
func Ideal(s Setting, trace Trace) Result {
	s = s.withDefaults()
	c := central{setting: s, trace: trace, servers: newServers(s)}
	for i, r := range trace {
		c.run(r.At)
		c.queue = append(c.queue, i)
		c.dispatch(r.At)
	}
	c.run(forever)
	out := Result{Policy: "ideal"}
	out.measure(c.times, c.servers)
	return out
}

const forever = time.Duration(1<<63 - 1)

type central struct {
	setting Setting
	trace   Trace
	servers []*server
	events  events
	queue   []int
	times   []time.Duration
}

func (c *central) run(until time.Duration) {
	for c.events.before(until) {
		e := c.events.pop()
		c.servers[e.server].busy--
		if at := c.trace[e.request].At; at >= c.setting.start() {
			c.times = append(c.times, e.at-at)
		}
		c.dispatch(e.at)
	}
}

func (c *central) dispatch(at time.Duration) {
	for len(c.queue) > 0 {
		i := c.fastest(at)
		if i < 0 {
			return
		}
		p := c.servers[i]
		took := p.takes(at, c.trace[c.queue[0]].Work)
		p.busy++
		if at >= c.setting.start() {
			p.worked += took
		}
		c.events.push(at+took, c.queue[0], i)
		c.queue = c.queue[1:]
	}
}

func (c *central) fastest(at time.Duration) int {
	best, speed := -1, 0.0
	for i, p := range c.servers {
		sound := at < p.faultAt || !p.slow() && p.fault != Failing
		if p.busy < p.slots && sound && c.setting.present(i, at) {
			if f := p.factor(at); f > speed {
				best, speed = i, f
			}
		}
	}
	return best
}
