package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/internal/browser"
)

// row is the page's row of a pod, as a JavaScript expression.
func row(pod string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#services tbody tr")].find((r) => r.querySelector("th span").textContent === %q)`, pod)
}

func state(pod string) string { return row(pod) + `?.querySelector(".badge").textContent` }

// The live page in a real browser, on a whole stack: an operator sees what
// happens to the pods and can change it.
func TestLivePage(t *testing.T) {
	t.Parallel()
	const hostile = `<script>alert(1)</script><img src=x onerror=alert(2)>`
	programs, err := build()
	if err != nil {
		t.Fatal(err)
	}
	// A pod of such a name is started here: the harness would name a file so.
	address := harness.Address(t)
	harness.NewProcess(t, "hostile", filepath.Join(programs.Dir, "demo-pod"), "--name", hostile, "--listen", address)
	svc := harness.Chat(3)
	svc.Pods.Static = append(svc.Pods.Static, harness.Pod{Name: hostile, Address: address, Weight: 1})
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	s.WaitClients(t)
	s.Traffic(t, harness.Keys(40), 100*time.Millisecond)

	tab := browser.Open(t, s.XDSAdmin+"/")
	tab.Await(`document.querySelector("#link").textContent === "live"`)
	tab.Await(state(hostile) + ` === "ready"`)
	tab.Await(`document.querySelector("#clients").textContent.includes("e2e")`)
	tab.Await(`document.querySelector("figure .curve").getAttribute("d") !== ""`)

	// What somebody else does is shown.
	s.Order(t, "chat", "chat-2", "drain")
	tab.Await(state("chat-2") + ` === "draining"`)

	// What the operator does, by keyboard, is done.
	tab.TabTo(row(hostile) + `.querySelector("button:nth-child(2)")`)
	tab.Do(chromedp.KeyEvent(kb.Enter))
	tab.TabTo(`document.querySelector("#confirm-yes")`)
	tab.Do(chromedp.KeyEvent(kb.Enter))
	tab.Await(state(hostile) + ` === "draining"`)
	harness.Eventually(t, harness.Patience, "the API says so, too", s.InState("chat", hostile, "draining"))

	// The analyzer's finding about a real fault.
	s.Misbehave(t, "chat-0", `{"fail":0.6}`)
	tab.Await(`document.querySelector("#issues").textContent.includes("pod chat-0 failed")`)
	tab.Screenshot(filepath.Join("..", "out", "live-page.png"))

	tab.Fits(320)
	tab.Accessible()
	tab.Innocent(s.XDSAdmin)

	// The page says when its figures are old, and comes back by itself.
	s.XDS.Stop(t)
	tab.Await(`document.querySelector("#link").textContent.startsWith("stale since")`)
	s.XDS.Start(t)
	tab.Await(`document.querySelector("#link").textContent === "live"`)
}
