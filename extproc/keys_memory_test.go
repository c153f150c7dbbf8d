package extproc

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/store"
	"github.com/stateful-route/stateful-route/sessionkey"
)

const (
	cookieBytes = 4 << 10
	pathBytes   = 60 << 10
)

// longRequest is a service whose sessions are named in one place only, and a request
// or response that names session n there amidst much else.
type longRequest struct {
	service  func(*statefulroute.Service)
	request  func(n int) sessionkey.Headers
	response func(n int) sessionkey.Headers // nil: the request names the session
}

func keyFrom(kind statefulroute.SourceKind, name string) func(*statefulroute.Service) {
	return func(s *statefulroute.Service) { s.Session.Key = []statefulroute.SessionSource{from(kind, name)} }
}

func learnFrom(kind statefulroute.SourceKind, name string) func(*statefulroute.Service) {
	return func(s *statefulroute.Service) { s.Session.Learn = []statefulroute.SessionSource{from(kind, name)} }
}

// idOf is a session key too long for an entry of the table.
func idOf(n int) string { return fmt.Sprintf("session-%056d", n) }

// around puts text in the midst of n bytes.
func around(text string, n int) string {
	return strings.Repeat("a", n/2) + text + strings.Repeat("z", n/2-len(text))
}

func longRequests() map[string]longRequest {
	cookies := func(n int) string { return around("; sid="+idOf(n)+"; ", cookieBytes) }
	return map[string]longRequest{
		"header": {service: keyFrom(statefulroute.FromHeader, "x-session-id"), request: func(n int) sessionkey.Headers {
			return raw("x-session-id", idOf(n), "cookie", cookies(n), ":path", "/"+strings.Repeat("p", pathBytes))
		}},
		"cookie": {service: keyFrom(statefulroute.FromCookie, "sid"), request: func(n int) sessionkey.Headers { return raw("cookie", cookies(n)) }},
		"query": {service: keyFrom(statefulroute.FromQuery, "session"), request: func(n int) sessionkey.Headers {
			return raw(":path", "/?x="+around("&session="+idOf(n)+"&y=", pathBytes))
		}},
		"path": {service: keyFrom(statefulroute.FromPath, "^/rooms/([^/]+)"), request: func(n int) sessionkey.Headers {
			return raw(":path", "/rooms/"+idOf(n)+"/"+strings.Repeat("p", pathBytes))
		}},
		"learned header": {service: learnFrom(statefulroute.FromHeader, "mcp-session-id"),
			request:  func(int) sessionkey.Headers { return raw(":path", "/"+strings.Repeat("p", pathBytes)) },
			response: func(n int) sessionkey.Headers { return raw(":status", "200", "mcp-session-id", idOf(n)) }},
		"learned cookie": {service: learnFrom(statefulroute.FromCookie, "JSESSIONID"),
			request: func(int) sessionkey.Headers { return raw("cookie", strings.Repeat("c", cookieBytes)) },
			response: func(n int) sessionkey.Headers {
				return raw(":status", "200", "set-cookie", "JSESSIONID="+idOf(n)+"; Comment="+strings.Repeat("c", cookieBytes))
			}},
		"issued": {service: issuing, request: func(int) sessionkey.Headers { return raw("cookie", strings.Repeat("c", cookieBytes)) }},
	}
}

// heapInUse is what is in use after collections that no more find anything.
func heapInUse() int64 {
	var m runtime.MemStats
	for last := uint64(0); ; last = m.HeapAlloc {
		runtime.GC()
		if runtime.ReadMemStats(&m); last != 0 && m.HeapAlloc >= last-last/1000 {
			return int64(m.HeapAlloc)
		}
	}
}

// A session costs the same memory however long the request or response was that named
// it: in the table, in what waits to be written to the file, in the metrics, and while
// the request is in flight.
func TestNoSessionKeepsTheRequestThatNamedIt(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is counted too")
	}
	const n, most = 1000, 2000
	for name, long := range longRequests() {
		t.Run(name, func(t *testing.T) {
			file, _, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "pins.db")}) // never written: all waits
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			table := newTable(t, func(o *affinity.Options) { o.Capacity, o.Journal = 2*n, file })
			d := newDirectory(t, stateOf(chat(long.service), pods(3)))
			server, err := NewServer(ServerOptions{Directory: d, Table: MemoryTable{Table: table}})
			if err != nil {
				t.Fatal(err)
			}
			inFlight := make([]*exchange, 0, n)
			begin := func(i int) {
				x := &exchange{server: server, service: d.service("chat"), began: t0}
				x.begin(context.Background(), long.request(i))
				if long.response != nil {
					x.response(t.Context(), long.response(i), "127.0.0.1:9100")
				}
				inFlight = append(inFlight, x)
			}
			begin(n) // what the first one makes is for all
			before := heapInUse()
			for i := range n {
				begin(i)
			}
			if bound := table.Stats().Size; bound != n+1 {
				t.Fatalf("%d sessions bound, want %d", bound, n+1)
			}
			per := (heapInUse() - before) / n
			t.Logf("%d B a session in flight", per)
			if per > most {
				t.Errorf("%d B a session, want at most %d", per, most)
			}
			runtime.KeepAlive(inFlight)
		})
	}
}
