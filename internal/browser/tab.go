// Package browser gives tests a headless Chromium, and an account of what the
// page did: where its requests went, and what the browser complained about.
//
//	tab := browser.Open(t, page.URL)
//	tab.Await(`document.title === "Stateful Route"`)
//	tab.Innocent(page.URL)
//
// A machine without Chromium skips such tests.
package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience bounds each step of a test in the browser.
const patience = 30 * time.Second

// Tab is a page in a browser of its own. Its methods are for the test's
// goroutine.
type Tab struct {
	t   testing.TB
	ctx context.Context

	mu         sync.Mutex
	requests   []string // URLs
	complaints []string
}

// Open starts a browser with an empty profile and opens url in it. The browser
// ends with the test.
func Open(t testing.TB, url string) *Tab {
	t.Helper()
	program := find(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop) // waits for the browser's end
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	tab := &Tab{t: t, ctx: ctx}
	// This starts the browser, which lives as long as the context it gets.
	if err := chromedp.Listen(ctx, tab.note); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	Command(tab, network.Enable, network.EnableParams{})
	Command(tab, log.Enable, cdp.Empty{})
	tab.Do(chromedp.EmulateViewport(1280, 800), chromedp.Navigate(url))
	return tab
}

func find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	t.Skip("chromium is not on PATH: scripts/test-deps.sh installs it")
	return ""
}

// note keeps what events tell of the page's conduct.
func (tab *Tab) note(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		tab.requests = append(tab.requests, e.Request.URL)
	case *network.EventWebSocketCreated:
		tab.requests = append(tab.requests, e.URL)
	case *log.EventEntryAdded:
		tab.complaints = append(tab.complaints, fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *runtime.EventExceptionThrown:
		tab.complaints = append(tab.complaints, fmt.Sprintf("exception: %s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		tab.complaints = append(tab.complaints, fmt.Sprintf("console.%s %s", e.Type, arguments(e.Args)))
	case *page.EventJavascriptDialogOpening:
		tab.complaints = append(tab.complaints, "dialog: "+e.Message)
	}
}

func arguments(args []*runtime.RemoteObject) string {
	var out []string
	for _, a := range args {
		out = append(out, string(a.Value)+a.Description)
	}
	return strings.Join(out, " ")
}

// Do performs actions and fails the test with their error.
func (tab *Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	Value(tab, chromedp.Steps(actions...))
}

// Command sends one command of the browser's own protocol.
func Command[P, R any](tab *Tab, command cdp.Command[P, R], params P) R {
	tab.t.Helper()
	return Value(tab, func(ctx context.Context, target *chromedp.Target) (R, error) {
		return cdp.Call(ctx, target, command, params)
	})
}

// Value performs an action and returns what it found.
func Value[T any](tab *Tab, action chromedp.Action[T]) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		tab.t.Fatalf("in the browser: %v", err)
	}
	return value
}

// Eval returns the value of a JavaScript expression.
func Eval[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	return Value(tab, chromedp.Evaluate[T](expression))
}

// Await returns when a JavaScript expression is true; the test fails when it never
// is. It asks from outside: a page's policy may forbid the eval that a loop inside
// would need.
func (tab *Tab) Await(expression string) {
	tab.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !Eval[bool](tab, expression); <-tick.C {
		if time.Now().After(end) {
			tab.t.Fatalf("not within %v: %s; the page says:\n%s", patience, expression, Eval[string](tab, "document.body.innerText"))
		}
	}
}

// Screenshot writes a picture of the whole page.
func (tab *Tab) Screenshot(file string) {
	tab.t.Helper()
	png := Value(tab, chromedp.FullScreenshot(100))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		tab.t.Fatal(err)
	}
	if err := os.WriteFile(file, png, 0o644); err != nil {
		tab.t.Fatal(err)
	}
}

// Innocent fails the test when a request went elsewhere than to the host of
// home, when a script was refused or failed, or when anything was logged.
func (tab *Tab) Innocent(home string) {
	tab.t.Helper()
	want, err := url.Parse(home)
	if err != nil {
		tab.t.Fatal(err)
	}
	tab.mu.Lock()
	defer tab.mu.Unlock()
	if len(tab.requests) == 0 {
		tab.t.Error("the browser reported no request at all")
	}
	for _, request := range tab.requests {
		if u, err := url.Parse(request); err != nil || u.Host != want.Host {
			tab.t.Errorf("a request left for %s", request)
		}
	}
	for _, complaint := range tab.complaints {
		tab.t.Errorf("the browser says: %s", complaint)
	}
}
