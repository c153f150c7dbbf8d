package pod

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

func TestMain(m *testing.M) {
	RunIfChild()
	goleak.VerifyTestMain(m)
}

func TestASignatureIsOfEverything(t *testing.T) {
	secret := []byte("secret")
	good := Answer{Pod: "p", Incarnation: 1, Session: "s", Key: "k", Visits: 2, Since: 3, Nonce: "n"}.Sign(secret)
	if !good.Signed(secret) || good.Signed([]byte("another")) {
		t.Fatal("signed by whom?")
	}
	for i, spoil := range []func(*Answer){
		func(a *Answer) { a.Pod = "q" }, func(a *Answer) { a.Incarnation++ }, func(a *Answer) { a.Session = "t" }, func(a *Answer) { a.Key = "" },
		func(a *Answer) { a.Visits++ }, func(a *Answer) { a.Since++ }, func(a *Answer) { a.Nonce = "m" }, func(a *Answer) { a.Signature = "" },
	} {
		bad := good
		spoil(&bad)
		if bad.Signed(secret) {
			t.Errorf("%d: signed all the same", i)
		}
	}
}

func ask(t *testing.T, address, session, key string) Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/visit", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set(SessionHeader, session)
	req.Header.Set("X-Id", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a Answer
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return a
}

func TestALifeOfAPod(t *testing.T) {
	f := &Fleet{Dir: t.TempDir(), Key: gateway.Key{Kind: gateway.Header, Name: "X-Id"}, HealthPath: "/healthz"}
	defer f.Close()
	address, err := f.Start(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	first, again, cut := ask(t, address, "s", "id"), ask(t, address, "s", "id"), ask(t, address, "s", "i")
	if first.Visits != 1 || again.Visits != 2 || again.Since != first.Since || cut.Visits != 1 || again.Key != HashKey("id") || !again.Signed(f.Secrets()["p"]) {
		t.Errorf("%+v, %+v, %+v", first, again, cut)
	}
	for _, good := range []bool{false, true} {
		if err := f.SetHealthy(t.Context(), "p", good); err != nil {
			t.Fatal(err)
		}
		want := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[good]
		if err := gateway.WaitStatus(t.Context(), "http://"+address+"/healthz", want); err != nil {
			t.Error(err)
		}
	}
	if err := gateway.WaitStatus(t.Context(), "http://"+address+stallsOrder, http.StatusForbidden); err != nil {
		t.Error(err) // without the secret
	}
	if err := f.Kill("p"); err != nil {
		t.Fatal(err)
	}
	if err := f.Pause("p"); err == nil {
		t.Error("a dead pod was paused")
	}
	if err := f.StartAt(t.Context(), "p", address); err != nil {
		t.Fatal(err)
	}
	if now := ask(t, address, "s", "id"); now.Visits != 1 || now.Incarnation <= first.Incarnation || !now.Signed(f.Secrets()["p"]) {
		t.Errorf("after its restart %+v", now)
	}
	if err := f.Stop(t.Context(), "p"); err != nil || len(f.Running()) != 0 {
		t.Errorf("stop: %v; %v run", err, f.Running())
	}
}

func TestAPodThatCannotListenIsNoPod(t *testing.T) {
	f := &Fleet{Dir: t.TempDir(), HealthPath: "/healthz", Key: gateway.Key{Kind: gateway.Header, Name: "X-Id"}}
	defer f.Close()
	address, err := f.Start(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.StartAt(t.Context(), "q", address); err == nil {
		t.Error("two pods at one address")
	}
	if _, err := os.Stat(f.Dir + "/q.log"); err != nil {
		t.Error(err)
	}
}

func TestWatchNotesStalls(t *testing.T) {
	t0 := time.Unix(100, 0)
	w := NewWatch(t0)
	w.tick(t0.Add(watchEvery))
	w.tick(t0.Add(watchEvery + stallFrom))
	w.tick(t0.Add(2*watchEvery + stallFrom))
	want := Stall{From: t0.Add(watchEvery).UnixNano(), Until: t0.Add(watchEvery + stallFrom).UnixNano()}
	if got := w.Stalls(); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestCookieValue(t *testing.T) {
	h := http.Header{"Cookie": {"a=1; sid=first;b", "sid=second"}}
	if got := CookieValue(h, "sid"); got != "first" {
		t.Errorf("%q", got)
	}
	if got := CookieValue(h, "none"); got != "" {
		t.Errorf("%q", got)
	}
}
