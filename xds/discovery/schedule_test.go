package discovery

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stateful-route/stateful-route/internal/dnsttl"
	"github.com/stateful-route/stateful-route/internal/testdns"
)

func TestSchedule(t *testing.T) {
	failure, missing := errors.New("no answer"), &net.DNSError{IsNotFound: true}
	told := func(seconds int) life { return life{time.Duration(seconds) * time.Second, true} }
	type step struct {
		life life
		err  error
		want int // seconds from the answer to the next question
	}
	for name, steps := range map[string][]step{
		"as long as it says":                   {{told(20), nil, 20}, {told(7), nil, 7}, {told(1), nil, 1}},
		"but a second":                         {{told(0), nil, 1}},
		"and no longer than a minute":          {{told(60), nil, 60}, {told(61), nil, 60}, {told(86400), nil, 60}},
		"it does not say":                      {{life{}, nil, 5}, {life{}, nil, 5}},
		"there is no such name":                {{told(30), missing, 30}, {told(30), missing, 30}, {told(900), missing, 60}},
		"failures back off":                    {{life{}, failure, 1}, {life{}, failure, 2}, {life{}, failure, 4}, {life{}, failure, 8}, {life{}, failure, 10}, {life{}, failure, 10}},
		"which any answer ends":                {{life{}, failure, 1}, {life{}, failure, 2}, {told(20), nil, 20}, {life{}, failure, 1}},
		"there is none, nobody knows how long": {{life{}, missing, 1}, {life{}, missing, 2}},
	} {
		var s schedule
		now := t0
		for i, step := range steps {
			s = s.after(now, step.life, step.err)
			if got := s.due.Sub(now); got != time.Duration(step.want)*time.Second {
				t.Errorf("%s, %d: asked again after %v, want %ds", name, i, got, step.want)
			}
			now = s.due
		}
	}
}

// The answer of a name with addresses of one family is made of two, and is true as
// long as both are.
func TestTheLifeOfAnAnswer(t *testing.T) {
	t.Parallel()
	const zone = "test. 40 IN SOA ns.test. me.test. 1 2 3 4 40"
	server := testdns.New(t)
	server.Set("four.test.", testdns.Name{Answers: [][]string{{"four.test. 20 IN A 10.0.0.1", "four.test. 3 IN AAAA fd00::1"}}})
	server.Set("six.test.", testdns.Name{Answers: [][]string{{"six.test. 50 IN AAAA fd00::1"}}, Zone: zone})
	server.Set("brief.test.", testdns.Name{Answers: [][]string{{"brief.test. 10 IN AAAA fd00::1"}}, Zone: zone})
	server.Set("half.test.", testdns.Name{Fails: "AAAA", Zone: zone})
	server.Set("none.test.", testdns.Name{Missing: true, Zone: zone})
	for _, c := range []struct {
		host, family string
		ttl          time.Duration
		told         bool
	}{
		{"four.test.", "auto", 20 * time.Second, true},
		{"four.test.", "ipv6", 3 * time.Second, true},
		{"six.test.", "auto", 40 * time.Second, true},
		{"brief.test.", "auto", 10 * time.Second, true},
		{"none.test.", "auto", 40 * time.Second, true},
		{"half.test.", "auto", 0, false}, // a failure, whatever is known of the other family
		{"10.0.0.1", "auto", 0, false},
	} {
		d := &DNS{Host: c.host, Port: 80, Family: c.family}
		if _, got, _ := d.lookUp(t.Context(), &dnsttl.Resolver{Dial: server.Dial}); got != (life{c.ttl, c.told}) {
			t.Errorf("%s, %s: %+v", c.host, c.family, got)
		}
	}
}

// Names are asked for again when their answers' time is over, and not before.
func TestANameIsAskedForAsOftenAsItSays(t *testing.T) {
	for _, c := range []struct {
		ttl  time.Duration
		err  error
		want int // times within 2 minutes, the first at once
	}{
		{ttl: time.Second, want: 120}, {ttl: 15 * time.Second, want: 8}, {ttl: time.Minute, want: 2},
		{ttl: time.Hour, want: 2}, {want: 24}, {err: errors.New("no answer"), want: 15},
	} {
		synctest.Test(t, func(t *testing.T) {
			dns := &answers{ttl: c.ttl}
			dns.say("1", c.err)
			s, b := newManager(t, dns)
			b.mustChange(t, s, fromDNS("chat", "x"))
			time.Sleep(2*time.Minute - time.Millisecond)
			s.Stop()
			if dns.asked != c.want {
				t.Errorf("TTL %v, error %v: asked %d times in two minutes, want %d", c.ttl, c.err, dns.asked, c.want)
			}
		})
	}
}

// A pod that an answer of a long TTL lacks is not gone before another answer says so.
func TestAnAnswerThatHoldsForLongerThanTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &answers{ttl: 50 * time.Second}
		dns.say("1 2 3", nil)
		s, b := newManager(t, dns)
		b.mustChange(t, s, fromDNS("chat", "x")) // which has a hold of 30 s
		const all = "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80"
		want := all
		for _, step := range []struct{ says, want string }{
			{"1 2", all}, {"1 2 3", all}, {"2 3", all}, {"2 3", "10.0.0.2:80 10.0.0.3:80"},
		} {
			dns.say(step.says, nil)
			time.Sleep(49 * time.Second)
			if got := b.of("chat"); got != want {
				t.Errorf("until %q is heard: %s, want %s", step.says, got, want)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if want = step.want; b.of("chat") != want {
				t.Errorf("after %q: %s, want %s", step.says, b.of("chat"), want)
			}
		}
		s.Stop()
	})
}

// Through a real name server: what changes is seen when the TTL of what it said before
// is over. Answers that are cut off, fail and come in parts change nothing.
func TestPodsFollowARealNameServer(t *testing.T) {
	t.Parallel()
	server := testdns.New(t)
	record := func(ttl, last string) string { return "chat.test. " + ttl + " IN A 10.0.0." + last }
	server.Set("chat.test.", testdns.Name{Rotate: true, Truncated: true, Answers: [][]string{
		{record("1", "1"), record("1", "2")}, {record("1", "2"), record("1", "3")}, {record("1", "3"), record("1", "1")},
	}})
	server.Set("still.test.", testdns.Name{Answers: [][]string{{"still.test. 3600 IN A 10.0.0.9"}}})
	s, b := newManager(t, &dnsttl.Resolver{Dial: server.Dial})
	b.mustChange(t, s, fromDNS("chat", "chat.test."), fromDNS("still", "still.test."))
	const all = "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80"
	await(t, "all parts are known", func() bool { return b.of("chat") == all })
	server.Set("chat.test.", testdns.Name{Fails: "A"})
	await(t, "a failure", func() bool { return s.state("chat") == "stale" })
	if b.of("chat") != all {
		t.Errorf("after a failure: %s", b.of("chat"))
	}
	server.Set("chat.test.", testdns.Name{Answers: [][]string{{record("1", "4")}}, Delay: 50 * time.Millisecond})
	await(t, "the new pod", func() bool { return b.of("chat") == all+" 10.0.0.4:80" })
	if times := server.Times("still.test."); times != 1 {
		t.Errorf("a name with a TTL of an hour was asked for %d times meanwhile", times)
	}
}
