package browser

import (
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Accessible fails the test for what keeps people with a screen reader, a
// keyboard or weak eyes out: nameless controls and pictures, tables without a
// caption or headings, headings that skip a level, doubled ids, and text whose
// contrast is below 4.5 : 1, in the light and the dark colours. The rules are a
// small part of WCAG 2.2, those that can be checked without judgement.
func (tab *Tab) Accessible() {
	tab.t.Helper()
	for _, fault := range Eval[[]string](tab, structureFaults) {
		tab.t.Error(fault)
	}
	for _, scheme := range []string{"light", "dark"} {
		tab.Scheme(scheme)
		for _, fault := range Eval[[]string](tab, contrastFaults) {
			tab.t.Errorf("%s colours: %s", scheme, fault)
		}
	}
	tab.Scheme("")
}

// Scheme has the page shown in light or dark colours without transitions; ""
// returns to the browser's own.
func (tab *Tab) Scheme(scheme string) {
	tab.t.Helper()
	Command(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// Fits fails the test when a window of the width has to be scrolled sideways.
func (tab *Tab) Fits(width int) {
	tab.t.Helper()
	tab.Do(chromedp.EmulateViewport(int64(width), 800))
	for _, wide := range Eval[[]string](tab, tooWide) {
		tab.t.Errorf("at %d px: %s", width, wide)
	}
	tab.Do(chromedp.EmulateViewport(1280, 800))
}

// TabTo presses the tab key until the element that a JavaScript expression
// names has the focus, and checks that each one on the way shows that it has it.
func (tab *Tab) TabTo(element string) {
	tab.t.Helper()
	const most = 200
	for range most {
		tab.Do(chromedp.KeyEvent(kb.Tab))
		if fault := Eval[string](tab, invisibleFocus); fault != "" {
			tab.t.Error(fault)
		}
		if Eval[bool](tab, "document.activeElement === "+element) {
			return
		}
	}
	tab.t.Fatalf("%d presses of tab do not reach %s", most, element)
}

const invisibleFocus = `(() => {
	const e = document.activeElement;
	if (e === document.body || getComputedStyle(e).outlineStyle !== "none") return "";
	return "no focus is to be seen on " + e.outerHTML.slice(0, 120);
})()`

const tooWide = `(() => {
	const width = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth <= width) return [];
	const shown = (e) => !e.closest("thead") && getComputedStyle(e).position !== "absolute";
	const out = [...document.body.querySelectorAll("*")].filter((e) => shown(e) && e.getBoundingClientRect().right > width + 1);
	return [document.documentElement.scrollWidth + " px are needed", ...out.slice(0, 5).map((e) => e.outerHTML.slice(0, 120))];
})()`

const structureFaults = `(() => {
	const faults = [];
	const named = (e) => (e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.title || e.textContent).trim();
	for (const e of document.querySelectorAll("button, a, input, select, textarea"))
		if (!named(e) && !e.closest("[hidden], dialog:not([open])")) faults.push("no name: " + e.outerHTML.slice(0, 120));
	for (const e of document.querySelectorAll("button[aria-label]"))
		if (!e.getAttribute("aria-label").startsWith(e.textContent)) faults.push("the name is not what is shown: " + e.outerHTML.slice(0, 120));
	for (const e of document.querySelectorAll("[role=img]"))
		if (!e.getAttribute("aria-label")) faults.push("a picture without a name: " + e.outerHTML.slice(0, 120));
	for (const e of document.querySelectorAll("img"))
		if (!e.hasAttribute("alt")) faults.push("an image without alt: " + e.outerHTML.slice(0, 120));
	for (const e of document.querySelectorAll("table")) {
		if (!e.caption?.textContent) faults.push("a table without a caption");
		if (!e.querySelector("th[scope=col]") || !e.querySelector("th[scope=row]")) faults.push("a table without headings");
	}
	const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
	for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push("doubled id " + id);
	let level = 0;
	for (const e of document.querySelectorAll("h1, h2, h3, h4")) {
		if (+e.tagName[1] > level + 1) faults.push("a heading skips a level: " + e.textContent);
		level = +e.tagName[1];
	}
	if (!document.documentElement.lang) faults.push("no language");
	if (!document.querySelector("main")) faults.push("no main");
	return faults;
})()`

// Contrast as WCAG defines it, for every element with text of its own, against
// the nearest background that is not see-through.
const contrastFaults = `(() => {
	const parse = (c) => c.match(/[\d.]+/g).map(Number);
	const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
	const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
	const ground = (e) => {
		for (; e; e = e.parentElement) {
			const c = parse(getComputedStyle(e).backgroundColor);
			if (c.length === 3 || c[3] === 1) return c;
		}
		return [255, 255, 255];
	};
	const own = (e) => [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
	const faults = [];
	for (const e of document.body.querySelectorAll("*")) {
		if (!own(e) || !e.checkVisibility()) continue;
		const [a, b] = [luminance(parse(getComputedStyle(e).color)), luminance(ground(e))];
		const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (contrast < 4.5) faults.push(contrast.toFixed(2) + " : 1 in " + e.outerHTML.slice(0, 120));
	}
	return faults.slice(0, 10);
})()`
