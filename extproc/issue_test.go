package extproc

import (
	"net/http"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
)

func TestIssuedCookieIsAsConfigured(t *testing.T) {
	for want, c := range map[string]struct {
		cookie statefulroute.IssuedCookie
		tls    bool
	}{
		"sid=id; Path=/; HttpOnly; SameSite=Lax":         {statefulroute.IssuedCookie{Name: "sid"}, false},
		"sid=id; Path=/; HttpOnly; Secure; SameSite=Lax": {statefulroute.IssuedCookie{Name: "sid", SameSite: statefulroute.Lax}, true},
		"sid=id; Path=/app; Domain=example.com; Max-Age=60; HttpOnly; SameSite=Strict": {
			statefulroute.IssuedCookie{Name: "sid", Path: "/app", Domain: "example.com", TTL: time.Minute, SameSite: statefulroute.Strict}, false},
		"sid=id; Path=/; HttpOnly; Secure; SameSite=None":             {statefulroute.IssuedCookie{Name: "sid", SameSite: statefulroute.None}, false},
		"sid=id; Path=/; HttpOnly; Secure; SameSite=Lax; Partitioned": {statefulroute.IssuedCookie{Name: "sid", Partitioned: true}, false},
		"__Host-sid=id; Path=/; HttpOnly; Secure; SameSite=Lax":       {statefulroute.IssuedCookie{Name: "__Host-sid"}, false},
		"sid=id.6a042c7c; Path=/; Max-Age=60; HttpOnly; SameSite=Lax": {statefulroute.IssuedCookie{Name: "sid", TTL: time.Minute, Renew: true}, false},
	} {
		if got := issuedCookie(&c.cookie, "id", c.tls, time.Unix(0x6a042c40, 0)); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		// What takes it back has the same name, domain and path, and is taken over the same connections.
		given, err := http.ParseSetCookie(want)
		if err != nil {
			t.Fatal(err)
		}
		back, err := http.ParseSetCookie(expiredCookie(&c.cookie))
		if err != nil || back.Name != given.Name || back.Path != given.Path || back.Domain != given.Domain ||
			back.Partitioned != given.Partitioned || back.MaxAge >= 0 || back.Secure && !given.Secure {
			t.Errorf("%s is taken back by %v, %v", want, back, err)
		}
	}
}

func TestOnlyStampedValuesAreTakenApart(t *testing.T) {
	id, ends := newSessionID(), time.Unix(1800000000, 0)
	if got, at := unstamped(stamped(id, ends)); got != id || !at.Equal(ends) {
		t.Errorf("got %q until %v", got, at)
	}
	if got, at := unstamped(stamped(id, ends.AddDate(200, 0, 0))); got != id || at.Before(ends.AddDate(70, 0, 0)) {
		t.Errorf("got %q until %v for a cookie that is to last for ever", got, at)
	}
	for _, value := range []string{
		id, id + ".", id + ".node1", id + ".6a042c7", id + ".6a042c7cc", id + ".6a042c7c.1", id[1:] + ".6a042c7c", "x" + id + ".6a042c7c",
		id + ".6A042C7C", id + ".+a042c7c", id + ".-a042c7c", id[:9] + "\n" + id[9:] + ".6a042c7c",
		"." + id, strings.Replace(id, id[:1], "!", 1) + ".6a042c7c", "", ".",
	} {
		if got, at := unstamped(value); got != value || !at.IsZero() {
			t.Errorf("%q is taken for %q until %v", value, got, at)
		}
	}
}

// A client that comes when less than half of its cookie's life is left gets it anew, with
// the same session; another one does not.
func TestIssuedCookieIsRenewedByUse(t *testing.T) {
	renewing := func(s *statefulroute.Service) { s.Session.Issue.Renew = true }
	p := startProcessor(t, stateOf(chat(issuing, renewing), pods(3)))
	id := newSessionID()
	p.table.Move("chat", id, "chat-2", time.Now())
	for name, c := range map[string]struct {
		value string
		renew bool
	}{
		"half and more is left": {stamped(id, time.Now().Add(12*time.Hour+time.Minute)), false},
		"less than half":        {stamped(id, time.Now().Add(12*time.Hour-time.Minute)), true},
		"nothing":               {stamped(id, time.Now().Add(-time.Hour)), true},
		"without a stamp":       {id, false},
	} {
		call, r := p.request("cookie", "stateful-route="+c.value)
		if got := destination(t, r); got != "127.0.0.1:9102" {
			t.Errorf("%s: sent to %s", name, got)
		}
		r = call.response("127.0.0.1:9102", ":status", "200")
		if r.GetResponseHeaders().GetResponse() == nil {
			if c.renew {
				t.Errorf("%s: not renewed", name)
			}
		} else if k := setCookieOf(t, r); !c.renew || k.MaxAge != 86400 {
			t.Errorf("%s: renewed as %v", name, k)
		} else if got, ends := unstamped(k.Value); got != id || time.Until(ends) < 23*time.Hour {
			t.Errorf("%s: renewed as %q until %v", name, got, ends)
		}
		call.finish()
	}
	if n := p.table.Stats().Size; n != 1 {
		t.Errorf("%d bindings, want 1", n)
	}
	first, r := p.request()
	k := setCookieOf(t, first.response(destination(t, r), ":status", "200"))
	first.finish()
	if _, again := p.request("cookie", "stateful-route="+k.Value); destination(t, again) != destination(t, r) {
		t.Errorf("the new cookie %q leads to %s, want %s", k.Value, destination(t, again), destination(t, r))
	}
}

func TestNoSharedCacheKeepsAnIssuedCookie(t *testing.T) {
	for _, c := range []struct {
		said []string
		want string
	}{
		{nil, "private"},
		{[]string{"public, max-age=600"}, "private, max-age=600"},
		{[]string{"max-age=60, S-MaxAge=600, immutable"}, "private, max-age=60, immutable"},
		{[]string{"max-age=60", "public"}, "private, max-age=60"},
		{[]string{"no-cache"}, "private, no-cache"}, // kept, and asked for again: the cookie comes with it
		{[]string{`no-cache="a, b"`}, `private, no-cache="a, b"`},
		{[]string{`private="x-y", max-age=1`}, "private, max-age=1"},
		{[]string{"private"}, ""},
		{[]string{"Private, max-age=1"}, ""},
		{[]string{"max-age=1", "no-store"}, ""},
	} {
		var h sessionkey.Headers
		for _, text := range c.said {
			h = append(h, raw("cache-control", text)...)
		}
		if got := privately(h); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.said, got, c.want)
		}
	}
}

// A client whose session is not bound is given no cookie: its response is nobody's affair.
func TestASessionThatIsNotBoundAsksForNoResponse(t *testing.T) {
	d := newDirectory(t, stateOf(chat(issuing), pods(1)))
	full := &answeringTable{Table: newMemory(t), claim: answers("", statefulroute.ErrFull)}
	server, err := NewServer(ServerOptions{Directory: d, Table: full})
	if err != nil {
		t.Fatal(err)
	}
	var x *exchange
	for range 50 { // the samples of this moment
		x = &exchange{server: server, service: d.service("chat"), began: t0}
		x.begin(t.Context(), raw(":method", "GET", ":path", "/"))
	}
	if x.decision.outcome != atHome || x.asked || x.owes() {
		t.Errorf("outcome %d, asked %v, owes %v", x.decision.outcome, x.asked, x.owes())
	}
}

// The response to a client whose cookie is to be renewed is asked for, also when none of
// its pod's is looked at otherwise.
func TestARenewalAsksForItsResponse(t *testing.T) {
	d := newDirectory(t, stateOf(chat(issuing, func(s *statefulroute.Service) { s.Session.Issue.Renew = true }), pods(1)))
	server, err := NewServer(ServerOptions{Directory: d, Table: newMemory(t)})
	if err != nil {
		t.Fatal(err)
	}
	id := newSessionID()
	asked := func(left time.Duration) bool {
		x := &exchange{server: server, service: d.service("chat"), began: t0}
		x.begin(t.Context(), raw("cookie", "stateful-route="+stamped(id, t0.Add(left))))
		return x.asked
	}
	for range 50 { // the samples of this moment
		asked(24 * time.Hour)
	}
	if asked(24*time.Hour) || !asked(time.Hour) {
		t.Error("want the response of the renewal alone")
	}
}
