package sessionkey

import (
	"strings"
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
)

func TestKeyFromTheHost(t *testing.T) {
	for _, name := range []string{"host", "Host", ":authority", ":Authority"} {
		r, err := NewReader([]statefulroute.SessionSource{from(statefulroute.FromHeader, name)})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(r.RequestHeaders(), " "); got != ":authority" {
			t.Errorf("%s: Envoy is to forward %q", name, got)
		}
		for authority, want := range map[string]string{
			"room-1.example.com": "room-1.example.com", "Room-1.EXAMPLE.com:8443": "room-1.example.com",
			"room-1.example.com.": "room-1.example.com", "room-1.example.com.:80": "room-1.example.com",
			"[2001:DB8::1]:80": "[2001:db8::1]", "[::1]": "[::1]", "127.0.0.1:80": "127.0.0.1", "": "", ":80": "",
		} {
			if got := firstKey(r, raw(":authority", authority)); got != want {
				t.Errorf("%q: got %q, want %q", authority, got, want)
			}
			if want != "" && !r.Carried(raw(":authority", authority)).Names(want) {
				t.Errorf("%q: the request does not carry %q", authority, want)
			}
		}
	}
}

func TestPartsOfTheRequestLineAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		":path": "take a query parameter", ":Path": "take a query parameter", ":method": "names no session",
		":scheme": "names no session", ":foo": "is not a header name",
	} {
		if _, err := open(from(statefulroute.FromHeader, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	source, err := open(from(statefulroute.FromHeader, "host"))
	if _, learns := source.(Learner); err != nil || learns {
		t.Errorf("a response names no session by a host: %v", err)
	}
}
