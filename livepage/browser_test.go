package livepage

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/stateful-route/stateful-route/adminhttp"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/internal/browser"
	"github.com/stateful-route/stateful-route/xds"
)

// hostile is text that runs when it is taken for markup, with a mark to tell
// where it came from.
func hostile(mark string) string {
	return fmt.Sprintf(`<script>window.ran="%[1]s"</script><img src=x onerror="window.ran='%[1]s'">"'&%[1]s`, mark)
}

// hostileState has such text wherever a name or a message can be.
func hostileState(now time.Time) State {
	scope := analysis.Scope{Service: hostile("service"), Pod: hostile("pod")}
	return State{
		Time: now, Process: Process{Version: hostile("version"), Started: now, ConfigError: hostile("config")}, Summary: hostile("summary"),
		Services: []Service{{
			Name: hostile("service"), Hosts: []string{hostile("host")}, Prefix: hostile("prefix"), Strategy: hostile("strategy"),
			OnPodLoss: hostile("podloss"), OnExtprocLoss: hostile("extprocloss"),
			Pods: []xds.PodReport{{Name: hostile("pod"), Address: hostile("address"), Zone: hostile("zone"), State: hostile("state"), Weight: 1}},
		}},
		Clients: []Client{{
			Node: hostile("node"), Kind: hostile("kind"), Protocol: hostile("protocol"),
			Types: []Sync{{Type: "eds", Version: hostile("xds"), Status: hostile("status"), Reason: hostile("reason")}},
		}},
		Extprocs: []Extproc{{Node: hostile("extproc"), Store: hostile("store")}},
		Issues:   []analysis.Issue{{Rule: hostile("rule"), Severity: analysis.High, Scope: scope, Message: hostile("message"), Since: now}},
		Suggestions: []analysis.Suggestion{{
			Rule: hostile("rule"), Scope: scope, Suggestion: hostile("suggestion"), Impact: hostile("impact"), Effort: hostile("effort"),
		}},
	}
}

const live = `document.querySelector("#link").textContent === "live"`

func TestHostileTextIsShownAsText(t *testing.T) {
	page := newPage(t, Options{State: hostileState})
	feedSeconds(page.feed.history, 0, 30, func(int) map[string]analysis.PodSample {
		return map[string]analysis.PodSample{hostile("service"): {Requests: 3}}
	})
	url, _ := serve(t, page)
	tab := browser.Open(t, url)
	tab.Await(live)
	for _, mark := range []string{
		"version", "config", "summary", "service", "host", "prefix", "strategy", "podloss", "extprocloss", "pod", "address", "zone",
		"state", "node", "kind", "protocol", "status", "reason", "extproc", "store", "rule", "message", "suggestion", "impact", "effort",
	} {
		if !browser.Eval[bool](tab, fmt.Sprintf("document.body.textContent.includes(%q)", hostile(mark))) {
			t.Errorf("the %s is not shown as it is", mark)
		}
	}
	tab.Await(`document.querySelector("figure .curve").getAttribute("d") !== ""`)
	tab.Fits(320)
	tab.Accessible()
	if ran := browser.Eval[string](tab, `window.ran ?? ""`); ran != "" {
		t.Errorf("the %s ran as a script", ran)
	}
	if n := browser.Eval[int](tab, `document.querySelectorAll("body script, body img:not([alt])").length`); n > 0 {
		t.Errorf("%d elements were made from text", n)
	}
	tab.Innocent(url)
}

// The policy is what holds if the script ever fails to: even its own code may
// not turn text into markup.
func TestPolicyForbidsMarkupFromText(t *testing.T) {
	url, _ := serve(t, newPage(t, Options{State: fixed(State{})}))
	tab := browser.Open(t, url)
	if !browser.Eval[bool](tab, `(() => { try { document.body.innerHTML = "<b>x</b>"; return false; } catch { return true; } })()`) {
		t.Error("innerHTML was taken")
	}
}

// One pod, drained by keyboard alone.
func TestDrainByKeyboard(t *testing.T) {
	const pod = `a/b c?d#e%2f`
	var drained atomic.Value
	drained.Store("ready")
	page := newPage(t, Options{State: func(now time.Time) State {
		return State{Time: now, Services: []Service{{Name: "chat & co", Pods: []xds.PodReport{{Name: pod, State: drained.Load().(string), Weight: 1, Sessions: 7}}}}}
	}})
	url, _ := serve(t, page, func(mux *http.ServeMux) {
		mux.HandleFunc("POST /api/v1/services/{service}/pods/{pod}/drain", func(w http.ResponseWriter, r *http.Request) {
			if r.PathValue("service") != "chat & co" || r.PathValue("pod") != pod {
				t.Errorf("asked to drain %q of %q", r.PathValue("pod"), r.PathValue("service"))
			}
			drained.Store("draining")
			adminhttp.WriteJSON(w, http.StatusOK, map[string]string{"state": "draining"})
		})
	})
	tab := browser.Open(t, url)
	tab.Await(live)
	drain := fmt.Sprintf("document.querySelector(`[aria-label=%q]`)", "Drain "+pod)
	tab.TabTo(drain)
	tab.Do(chromedp.KeyEvent(kb.Enter))
	tab.Await(`document.querySelector("dialog").open && document.querySelector("dialog").textContent.includes("7 sessions")`)
	tab.Accessible()
	tab.Do(chromedp.KeyEvent(kb.Escape))
	tab.Await(`!document.querySelector("dialog").open && document.activeElement === ` + drain)
	if drained.Load() != "ready" {
		t.Fatal("escape drained the pod")
	}
	tab.Do(chromedp.KeyEvent(kb.Enter))
	tab.TabTo(`document.querySelector("#confirm-yes")`)
	tab.Do(chromedp.KeyEvent(kb.Enter))
	tab.Await(drain + `.getAttribute("aria-pressed") === "true" && !document.querySelector("dialog").open`)
	tab.Innocent(url)
}

func TestARefusedOrderSaysWhy(t *testing.T) {
	page := newPage(t, Options{State: fixed(State{Services: []Service{{Name: "chat", Pods: []xds.PodReport{{Name: "chat-0", State: "ready"}}}}})})
	url, _ := serve(t, page, func(mux *http.ServeMux) {
		mux.HandleFunc("POST /api/v1/services/{service}/pods/{pod}/{order}", func(w http.ResponseWriter, _ *http.Request) {
			adminhttp.WriteJSON(w, http.StatusNotFound, map[string]string{"error": "no such pod any more"})
		})
	})
	tab := browser.Open(t, url)
	tab.Await(live)
	tab.Do(chromedp.Click("[aria-label='Maintain chat-0']"), chromedp.Click("#confirm-yes"))
	tab.Await(`document.querySelector("#confirm-error").checkVisibility() && document.querySelector("#confirm-error").textContent === "no such pod any more"`)
}

// Rows are kept, not drawn anew: focus survives new figures, new pods and pods
// that leave.
func TestFocusSurvivesUpdates(t *testing.T) {
	var round atomic.Int64
	page := newPage(t, Options{State: func(now time.Time) State {
		pods := []xds.PodReport{{Name: "chat-0", State: "ready", InFlight: round.Load()}, {Name: "chat-1", State: "ready"}, {Name: "chat-2", State: "ready"}}
		if round.Load() > 0 {
			pods = append([]xds.PodReport{{Name: "chat-9", State: "ready"}}, pods[1:]...)
		}
		return State{Time: now, Services: []Service{{Name: "chat", Pods: pods}}}
	}})
	url, _ := serve(t, page)
	tab := browser.Open(t, url)
	tab.Await(live)
	tab.Do(chromedp.Focus("[aria-label='Drain chat-1']"))
	round.Store(1)
	tab.Await(`document.body.textContent.includes("chat-9") && !document.body.textContent.includes("chat-0")`)
	if !browser.Eval[bool](tab, `document.activeElement.getAttribute("aria-label") === "Drain chat-1"`) {
		t.Error("the update took the focus away")
	}
}

func TestOpenedAndResolvedIssuesAreSaid(t *testing.T) {
	issue := analysis.Issue{Rule: "High Error Rate", Severity: analysis.High, Scope: analysis.Scope{Service: "chat", Pod: "chat-1"}, Message: "pod chat-1 failed"}
	var open atomic.Bool
	page := newPage(t, Options{State: func(now time.Time) State {
		s := State{Time: now, Issues: []analysis.Issue{}}
		if open.Load() {
			s.Issues = append(s.Issues, issue)
		}
		return s
	}})
	url, _ := serve(t, page)
	tab := browser.Open(t, url)
	tab.Await(live)
	said := `document.querySelector("#said").textContent`
	if got := browser.Eval[string](tab, said); got != "" {
		t.Errorf("said at first: %q", got)
	}
	open.Store(true)
	tab.Await(said + ` === "New issue, high: pod chat-1 failed."`)
	open.Store(false)
	tab.Await(said + ` === "Resolved: High Error Rate of chat-1."`)
}

// Of each extproc its lease and the store are shown, and who has none stands out.
func TestExtprocsThatShareAreShown(t *testing.T) {
	var cutOff atomic.Bool
	page := newPage(t, Options{State: func(now time.Time) State {
		s := State{Time: now, Extprocs: []Extproc{
			{Node: "extproc/a", Bindings: 12, Capacity: 1000, Memory: 64 << 20, Store: "open", LeaseLeft: 2.5},
			{Node: "extproc/b", Bindings: 7, Capacity: 1000, Store: "recovering", LeaseLeft: 1, Conflicts: 3},
			{Node: "extproc/alone", Capacity: 1000},
		}}
		if cutOff.Load() {
			s.Extprocs[0].Store, s.Extprocs[0].LeaseLeft = "unreachable", 0
		}
		return s
	}})
	url, _ := serve(t, page)
	tab := browser.Open(t, url)
	tab.Await(live)
	row := func(i int) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#extprocs tbody tr:nth-child(%d) > *")].map((c) => c.innerText.trim()).join("|")`, i)
	}
	tab.Await(row(1) + ` === "extproc/a|open|2.5 s|0|12 of 1,000|64 MiB"`)
	tab.Await(row(2) + ` === "extproc/b|recovering|1.0 s|3|7 of 1,000|0 MiB"`)
	tab.Await(row(3) + ` === "extproc/alone|not shared|–|–|0 of 1,000|0 MiB"`)
	total := `[...document.querySelectorAll("#totals li")].map((l) => l.innerText.replace(/\s+/g, " ")).find((t) => t.endsWith("extprocs with a lease"))`
	tab.Await(total + ` === "2 / 2 extprocs with a lease"`)
	cutOff.Store(true)
	tab.Await(row(1) + `.startsWith("extproc/a|unreachable|none|")`)
	tab.Await(`document.querySelector("#extprocs tbody tr .bad").textContent === "unreachable"`)
	tab.Await(total + ` === "1 / 2 extprocs with a lease"`)
	tab.Fits(320)
	tab.Accessible()
}
