package epoch_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/epoch"
	"github.com/stateful-route/stateful-route/wire"
)

func TestItIsTheHeaderThatIsSent(t *testing.T) {
	if !strings.EqualFold(epoch.Header, wire.EpochHeader) {
		t.Errorf("%s, sent is %s", epoch.Header, wire.EpochHeader)
	}
}

func byHeader(r *http.Request) string { return r.Header.Get("X-Session-Id") }

func ask(h http.Handler, session string, epochs ...string) int {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("X-Session-Id", session)
	for _, e := range epochs {
		r.Header.Add(epoch.Header, e)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// Of any requests in any order, those with less than the highest epoch that their session
// had are refused, unless so many others came in between that it is forgotten.
func TestOlderEpochsAreRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := rapid.IntRange(1, 4).Draw(t, "room")
		served := 0
		h, err := epoch.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }), epoch.Options{Key: byHeader, Sessions: room})
		if err != nil {
			t.Fatal(err)
		}
		highest, order := map[string]uint64{}, []string{} // the least recently admitted first
		for range rapid.IntRange(0, 60).Draw(t, "requests") {
			session, e := fmt.Sprint("s", rapid.IntRange(0, 5).Draw(t, "session")), rapid.Uint64Range(1, 9).Draw(t, "epoch")
			before, want := served, http.StatusOK
			if e < highest[session] {
				want = http.StatusMisdirectedRequest
			} else {
				highest[session] = e
			}
			if got := ask(h, session, fmt.Sprint(e)); got != want || (served > before) != (want == http.StatusOK) {
				t.Fatalf("epoch %d after %d: %d, want %d; served %d times", e, highest[session], got, want, served-before)
			}
			order = touch(order, session)
			if len(order) > room {
				delete(highest, order[0])
				order = order[1:]
			}
		}
	})
}

func touch(order []string, session string) []string {
	out := make([]string, 0, len(order)+1)
	for _, s := range order {
		if s != session {
			out = append(out, s)
		}
	}
	return append(out, session)
}

func TestWhatIsNoEpochOfASession(t *testing.T) {
	var refused atomic.Int64
	o := epoch.Options{Key: byHeader, Refused: func(_ *http.Request, highest, got uint64) { refused.Add(int64(10*highest + got)) }}
	served := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	lenient, err := epoch.Handler(served, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Required = true
	strict, err := epoch.Handler(served, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, session string
		epochs        []string
		lenient       int
		strict        int
	}{
		{"no session, no epoch", "", nil, 200, 200},
		{"no session that the pod knows of", "", []string{"7"}, 200, 200},
		{"no epoch", "s", nil, 200, 421},
		{"two", "s", []string{"7", "8"}, 400, 400},
		{"no number", "s", []string{"seven"}, 400, 400},
		{"none", "s", []string{"0"}, 400, 400},
		{"negative", "s", []string{"-7"}, 400, 400},
		{"too long", "s", []string{"18446744073709551616"}, 400, 400},
		{"empty", "s", []string{""}, 400, 400},
		{"the highest there is", "s", []string{"18446744073709551615"}, 200, 200},
	} {
		if got := ask(lenient, c.session, c.epochs...); got != c.lenient {
			t.Errorf("%s: %d, want %d", c.name, got, c.lenient)
		}
		if got := ask(strict, c.session, c.epochs...); got != c.strict {
			t.Errorf("%s, required: %d, want %d", c.name, got, c.strict)
		}
	}
	refused.Store(0)
	ask(lenient, "t", "5")
	if ask(lenient, "t", "4"); refused.Load() != 54 {
		t.Errorf("told of %d, want 54", refused.Load())
	}
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]epoch.Options{"no key": {}, "negative": {Key: byHeader, Sessions: -1}} {
		if _, err := epoch.Handler(nil, o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Once a request with an epoch was admitted, none that begins later gets in with a lower one.
func TestConcurrentRequestsOfASession(t *testing.T) {
	guard, err := epoch.NewGuard(8)
	if err != nil {
		t.Fatal(err)
	}
	var next, admitted atomic.Uint64
	next.Store(1)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 5000 {
				e := next.Load() + uint64((worker+i)%3) - 1 // one before, the present one, one ahead
				if i%50 == 0 {
					next.Add(1)
				}
				before := admitted.Load()
				highest, ok := guard.Admit("s", e)
				if ok && e < before || !ok && highest <= e {
					t.Errorf("epoch %d: %v after %d was admitted, highest %d", e, ok, before, highest)
				}
				for ok {
					was := admitted.Load()
					if was >= e || admitted.CompareAndSwap(was, e) {
						break
					}
				}
				if i%100 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	all.Wait()
}

// A session costs the same however long its key is.
func TestMemoryIsBounded(t *testing.T) {
	const sessions = 2000
	guard, err := epoch.NewGuard(sessions)
	if err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 3 * sessions {
		guard.Admit(strings.Repeat("k", 4<<10)+fmt.Sprint(i), 7)
	}
	if per := int64(heap()-before) / sessions; per > 300 {
		t.Errorf("%d bytes a session", per)
	} else {
		t.Logf("%d bytes a session", per)
	}
	runtime.KeepAlive(guard)
}
