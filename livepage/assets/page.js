// The live page. All text comes in by textContent: names are never markup, and
// the page's policy has the browser refuse anything else.

const byId = (id) => document.getElementById(id);

// No event for this long means that the figures are old: the server sends one
// at least every 3 s.
const staleAfter = 8000;

function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function svg(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// Only what differs is written, so that focus, selection and screen readers are
// left alone.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function setBadge(node, text, kind) {
  setText(node, text);
  setAttribute(node, "class", kind ? `badge ${kind}` : "badge");
}

// keep makes parent's children those of items, one each, and reuses the nodes of
// items that were there before.
function keep(parent, items, keyOf, create, update) {
  const had = parent.kept ?? new Map();
  const keys = new Set(items.map(keyOf));
  for (const [key, node] of had) {
    if (!keys.has(key)) {
      node.remove();
      had.delete(key);
    }
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = had.get(key);
    if (!node) {
      node = create(item);
      had.set(key, node);
    }
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
    update(node, item);
  }
  parent.kept = had;
}

// --- figures ---------------------------------------------------------------

const none = "–";
const digits = (v) => (v >= 100 ? v.toFixed(0) : v.toPrecision(v >= 10 ? 3 : 2));

function seconds(v) {
  if (v === null || v === undefined || v === 0) return none;
  if (v >= 1) return `${digits(v)} s`;
  return v >= 1e-3 ? `${digits(v * 1e3)} ms` : `${digits(v * 1e6)} µs`;
}

function percent(v) {
  if (v === null || v === undefined) return none;
  if (v === 0) return "0 %";
  if (v < 1e-3) return "< 0.1 %";
  return `${(100 * v).toFixed(v >= 0.1 ? 0 : 1)} %`;
}

const rate = (v) => (v === null || v === undefined ? none : `${v === 0 ? 0 : digits(v)}/s`);
const whole = (v) => (v === null || v === undefined ? none : Math.round(v).toLocaleString("en"));

function age(s) {
  if (s < 90) return `${Math.max(0, Math.floor(s))} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

const many = (n, noun) => `${whole(n)} ${noun}${n === 1 ? "" : "s"}`;
const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });

// --- charts ----------------------------------------------------------------

const charts = [
  { title: "Requests", value: "request_rate", show: rate, least: 1 },
  { title: "Response time p95", value: "p95_seconds", second: "response_time_seconds", show: seconds, least: 1e-3 },
  { title: "Errors", value: "error_rate", show: percent, least: 0.01 },
  { title: "Sessions", value: "sessions", show: whole, least: 1 },
];

const width = 240;
const height = 48;

function createChart(kind) {
  const now = el("strong");
  const figure = el("figure", "", el("figcaption", "", el("span", "", kind.title), now));
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" });
  const axis = svg("path", { class: "axis", d: `M0 ${height}H${width}` });
  const area = svg("path", { class: "area" });
  const second = svg("path", { class: "second" });
  const curve = svg("path", { class: "curve" });
  picture.append(axis, area, second, curve);
  const from = el("span");
  const top = el("span");
  figure.append(picture, el("p", "scale", from, top));
  figure.parts = { now, picture, area, second, curve, from, top };
  return figure;
}

// runs splits values into stretches without a gap, as points of the picture.
// The newest value is at the right edge of a full chart's width.
function runs(values, slots, top) {
  const out = [];
  let run = null;
  values.forEach((v, i) => {
    if (v === null) {
      run = null;
      return;
    }
    if (!run) out.push((run = []));
    run.push([width - ((values.length - 1 - i) * width) / (slots - 1), height - (v / top) * height]);
  });
  return out;
}

const at = ([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`;
// A single point is drawn as a dot: a line of no length with round ends.
const line = (all) => all.map((run) => `M${run.map(at).join("L")}${run.length === 1 ? "h0.01" : ""}`).join("");
const fill = (all) => all.map((run) => `M${run[0][0].toFixed(1)} ${height}L${run.map(at).join("L")}V${height}Z`).join("");

function updateChart(figure, kind, series, chart) {
  const { now, picture, area, second, curve, from, top } = figure.parts;
  const values = series?.[kind.value] ?? [];
  const others = kind.second ? series?.[kind.second] ?? [] : [];
  const known = values.filter((v) => v !== null);
  const most = Math.max(0, ...known);
  const ceiling = Math.max(kind.least, most, ...others.filter((v) => v !== null)) * 1.08;
  const shape = runs(values, chart.slots, ceiling);
  setAttribute(curve, "d", line(shape));
  setAttribute(area, "d", fill(shape));
  setAttribute(second, "d", line(runs(others, chart.slots, ceiling)));
  const last = values.at(-1);
  const mean = others.at(-1) ? ` ┄ mean ${kind.show(others.at(-1))}` : "";
  setText(now, values.length ? kind.show(last) : "collecting");
  const period = age((values.length || 1) * chart.step_seconds);
  setText(from, values.length ? period + mean : "");
  setText(top, known.length ? `max ${kind.show(most)}` : "");
  setAttribute(picture, "aria-label",
    known.length ? `${kind.title}, last ${period}: now ${kind.show(last)}, at most ${kind.show(most)}` : `${kind.title}: nothing known yet`);
}

// --- tables ----------------------------------------------------------------

// createTable makes a table with explicit roles, which it keeps when a narrow
// screen shows its rows as blocks.
function createTable(caption, columns) {
  const table = el("table");
  const head = el("tr");
  for (const c of columns) {
    const th = el("th", c.number ? "number" : "", c.unseen ? el("span", "unseen", c.title) : c.title);
    th.scope = "col";
    th.setAttribute("role", "columnheader");
    head.append(th);
  }
  head.setAttribute("role", "row");
  const body = el("tbody");
  const thead = el("thead", "", head);
  for (const part of [thead, body]) part.setAttribute("role", "rowgroup");
  table.setAttribute("role", "table");
  table.append(el("caption", "", caption), thead, body);
  table.body = body;
  return table;
}

function createRow(columns) {
  const row = el("tr");
  row.setAttribute("role", "row");
  row.fields = columns.map((c, i) => {
    const cell = el(i === 0 ? "th" : "td", [c.number && "number", c.wide && "wide"].filter(Boolean).join(" "));
    if (i === 0) cell.scope = "row";
    cell.setAttribute("role", i === 0 ? "rowheader" : "cell");
    cell.dataset.label = c.title;
    row.append(cell);
    return cell;
  });
  return row;
}

// --- pods ------------------------------------------------------------------

const podColumns = [
  { title: "Pod" }, { title: "State" }, { title: "Weight", number: true }, { title: "In flight", number: true },
  { title: "Response time", number: true }, { title: "Errors", number: true }, { title: "Sessions", number: true },
  { title: "Orders", unseen: true, wide: true },
];

const stateKinds = { ready: "good", draining: "warn", maintenance: "warn", unhealthy: "bad" };

const orders = [
  { verb: "ready", state: "ready", label: "Ready", text: (pod) => `${pod} takes new sessions again, unless its health checks fail.` },
  { verb: "drain", state: "draining", label: "Drain", text: (pod, n) => `${pod} keeps its ${many(n, "session")} and takes no new one.` },
  { verb: "maintenance", state: "maintenance", label: "Maintain",
    text: (pod, n) => `${pod} gets no request at all. Its ${many(n, "session")} are treated as those of a lost pod: rebound to another pod or refused, as the service says.` },
];

function createPod(service, pod) {
  const row = createRow(podColumns);
  const name = el("span");
  const where = el("span", "about");
  row.fields[0].append(name, where);
  const state = el("span", "badge");
  row.fields[1].append(state);
  const buttons = orders.map((order) => {
    const button = el("button", "", order.label);
    button.type = "button";
    button.setAttribute("aria-label", `${order.label} ${pod.name}`);
    button.addEventListener("click", () => ask(service, row.pod, order));
    return button;
  });
  row.fields[7].append(el("div", "orders", ...buttons));
  row.parts = { name, where, state, buttons };
  return row;
}

function updatePod(row, pod, weights) {
  row.pod = pod;
  const { name, where, state, buttons } = row.parts;
  setText(name, pod.name);
  setText(where, pod.zone ? `${pod.address} · zone ${pod.zone}` : pod.address);
  setBadge(state, pod.state, stateKinds[pod.state]);
  // Only ready pods share the requests that are bound to none.
  const share = pod.state === "ready" && weights > 0 ? ` (${percent(pod.weight / weights)})` : "";
  const figures = [whole(pod.weight) + share, whole(pod.in_flight), seconds(pod.response_time_seconds), percent(pod.error_rate), whole(pod.sessions)];
  figures.forEach((text, i) => setValue(row.fields[i + 2], text));
  buttons.forEach((button, i) => setAttribute(button, "aria-pressed", String(pod.state === orders[i].state)));
}

function setValue(cell, text) {
  if (!cell.firstChild) cell.append(el("span"));
  setText(cell.firstChild, text);
}

// --- services --------------------------------------------------------------

let sections = 0;

function createService(service) {
  const title = el("h2", "", service.name);
  title.id = `service-${++sections}`;
  const about = el("p", "about");
  const source = el("p", "alert");
  const pictures = charts.map(createChart);
  const table = createTable(`Pods of ${service.name}`, podColumns);
  const section = el("section", "", el("div", "head", title, about), source, el("div", "charts", ...pictures), table);
  section.setAttribute("aria-labelledby", title.id);
  section.parts = { about, source, pictures, table };
  return section;
}

function updateService(section, service) {
  const { about, source, pictures, table } = section.parts;
  setText(source, service.source ?? "");
  source.hidden = !service.source;
  const states = {};
  for (const pod of service.pods) states[pod.state] = (states[pod.state] ?? 0) + 1;
  const counts = Object.entries(states).map(([state, n]) => `${n} ${state}`).join(", ");
  setText(about, [counts || "no pods", `${service.hosts.join(", ")} ${service.prefix}`, service.strategy,
    `pod lost: ${service.on_pod_loss}`, `extproc lost: ${service.on_extproc_loss}`].join(" · "));
  const weights = service.pods.reduce((sum, p) => sum + (p.state === "ready" ? p.weight : 0), 0);
  keep(table.body, service.pods, (p) => p.name, (p) => createPod(service.name, p), (row, p) => updatePod(row, p, weights));
  pictures.forEach((figure, i) => updateChart(figure, charts[i], history.services[service.name], history));
}

// --- xDS clients -----------------------------------------------------------

const types = ["lds", "rds", "cds", "eds"];
const clientColumns = [{ title: "Client" }, ...types.map((t) => ({ title: t.toUpperCase() }))];
const syncKinds = { ack: "good", nack: "bad", pending: "warn" };

// Whether an Envoy needs extproc for known sessions; nothing of an extproc.
function pathOf(client) {
  if (client.path === "module") return "fast path";
  if (client.path_reason) return `no fast path: ${client.path_reason}`;
  return client.path ? "asks extproc" : "";
}

function createClient() {
  const row = createRow(clientColumns);
  const name = el("span");
  const about = el("span", "about");
  row.fields[0].append(name, about);
  const cells = types.map((_, i) => {
    const badge = el("span", "badge");
    const since = el("span", "about");
    row.fields[i + 1].append(el("div", "", badge, since));
    return { badge, since };
  });
  row.parts = { name, about, cells };
  return row;
}

function updateClient(row, client) {
  const { name, about, cells } = row.parts;
  setText(name, client.node || "(no node id)");
  setText(about, [client.client, client.protocol, `connected ${age(client.connected_seconds)}`, pathOf(client)].filter(Boolean).join(" · "));
  types.forEach((type, i) => {
    const { badge, since } = cells[i];
    const sync = client.types.find((t) => t.type === type);
    setBadge(badge, sync ? sync.status : none, sync && syncKinds[sync.status]);
    setText(since, sync ? [`for ${age(sync.age_seconds)}`, sync.reason].filter(Boolean).join(": ") : "");
    setAttribute(badge, "title", sync?.version ? `version ${sync.version}` : "");
  });
}

// A node may be connected twice; the order of its streams tells them apart.
function keyed(clients) {
  const seen = new Map();
  return clients.map((client) => {
    const id = JSON.stringify([client.client, client.node, client.protocol]);
    seen.set(id, (seen.get(id) ?? 0) + 1);
    return { client, key: `${seen.get(id)} ${id}` };
  });
}

function showClients(clients) {
  const parent = byId("clients");
  keep(parent, clients.length ? ["table"] : ["none"], (k) => k,
    (k) => (k === "table" ? createTable("Sync state by resource type", clientColumns) : el("p", "about", "No Envoy or extproc is connected.")),
    (node, k) => k === "table" && keep(node.body, keyed(clients), (c) => c.key, createClient, (row, c) => updateClient(row, c.client)));
}

// --- extprocs --------------------------------------------------------------

const extprocColumns = [
  { title: "Extproc" }, { title: "Store" }, { title: "Lease left", number: true }, { title: "Conflicts", number: true },
  { title: "Bindings held", number: true }, { title: "Memory", number: true },
];
const storeKinds = { open: "good", recovering: "warn", unreachable: "bad" };
const leaseless = (e) => e.store !== "" && e.lease_left_seconds <= 0;

function createExtproc() {
  const row = createRow(extprocColumns);
  const name = el("span");
  const store = el("span", "badge");
  const lease = el("span", "badge");
  row.fields[0].append(name);
  row.fields[1].append(store);
  row.fields[2].append(lease);
  row.parts = { name, store, lease };
  return row;
}

function updateExtproc(row, extproc) {
  const { name, store, lease } = row.parts;
  const shares = extproc.store !== "";
  setText(name, extproc.node);
  setBadge(store, shares ? extproc.store : "not shared", storeKinds[extproc.store]);
  if (leaseless(extproc)) setBadge(lease, "none", "bad");
  else setBadge(lease, shares ? seconds(extproc.lease_left_seconds) : none);
  [shares ? whole(extproc.conflicts) : none, `${whole(extproc.bindings)} of ${whole(extproc.capacity)}`, `${whole(extproc.memory_bytes / 1048576)} MiB`]
    .forEach((text, i) => setValue(row.fields[i + 3], text));
}

function showExtprocs(extprocs) {
  const seen = new Map();
  const items = extprocs.map((extproc) => {
    seen.set(extproc.node, (seen.get(extproc.node) ?? 0) + 1);
    return { extproc, key: `${seen.get(extproc.node)} ${extproc.node}` };
  });
  keep(byId("extprocs"), items.length ? ["table"] : [], (k) => k, () => createTable("Extprocs, as they report themselves", extprocColumns),
    (table) => keep(table.body, items, (i) => i.key, createExtproc, (row, i) => updateExtproc(row, i.extproc)));
}

// --- issues ----------------------------------------------------------------

const scopeKey = (x) => JSON.stringify([x.rule, x.service, x.pod, x.process]);
const severityKinds = { critical: "bad", high: "bad", medium: "warn" };
let openIssues = null;

function createIssue() {
  const badge = el("span", "badge");
  const rule = el("strong");
  const since = el("span", "about");
  const message = el("p");
  const todo = el("p", "todo");
  const worth = el("p", "about");
  const item = el("li", "", el("div", "head", badge, rule, since), message, todo, worth);
  item.parts = { badge, rule, since, message, todo, worth };
  return item;
}

function updateIssue(item, issue, suggestion) {
  const { badge, rule, since, message, todo, worth } = item.parts;
  setAttribute(item, "class", issue.severity);
  setBadge(badge, issue.severity, severityKinds[issue.severity]);
  setText(rule, issue.rule);
  setText(since, [issue.service, `since ${clock(issue.since)}`].filter(Boolean).join(" · "));
  setText(message, issue.message);
  setText(todo, suggestion ? `→ ${suggestion.suggestion}` : "");
  setText(worth, suggestion ? [`priority ${suggestion.priority}`, suggestion.impact && `impact ${suggestion.impact}`,
    suggestion.effort && `effort ${suggestion.effort}`].filter(Boolean).join(" · ") : "");
}

function showIssues(state) {
  setText(byId("summary"), state.summary);
  const suggestions = new Map(state.suggestions.map((s) => [scopeKey(s), s]));
  keep(byId("issues"), state.issues, scopeKey, createIssue, (item, issue) => updateIssue(item, issue, suggestions.get(scopeKey(issue))));
  byId("issues").hidden = state.issues.length === 0;
  // Figures change all the time: only what opens and what is resolved is said.
  const now = new Map(state.issues.map((i) => [scopeKey(i), i]));
  if (openIssues) {
    const opened = [...now].filter(([key]) => !openIssues.has(key)).map(([, i]) => `New issue, ${i.severity}: ${i.message}.`);
    const resolved = [...openIssues].filter(([key]) => !now.has(key)).map(([, i]) => `Resolved: ${i.rule} of ${i.pod || i.service || i.process}.`);
    if (opened.length + resolved.length) setText(byId("said"), [...opened, ...resolved].join(" "));
  }
  openIssues = now;
}

// --- the whole -------------------------------------------------------------

let history = { step_seconds: 5, slots: 120, services: {} };
let shown = null;

// leases counts those of extprocs that share their bindings, where any does.
function leases(extprocs) {
  const sharing = extprocs.filter((e) => e.store !== "");
  return sharing.length ? [{ name: "extprocs with a lease", value: `${sharing.filter((e) => !leaseless(e)).length} / ${sharing.length}` }] : [];
}

function totals(state) {
  const pods = state.services.flatMap((s) => s.pods);
  const inSync = (c) => c.types.every((t) => t.status !== "nack" && t.status !== "pending");
  const synced = (kind) => {
    const all = state.clients.filter((c) => c.client === kind);
    return `${all.filter(inSync).length} / ${all.length}`;
  };
  return [
    { name: "pods ready", value: `${pods.filter((p) => p.state === "ready").length} / ${pods.length}` },
    { name: "sessions", value: whole(pods.reduce((n, p) => n + p.sessions, 0)) },
    { name: "requests in flight", value: whole(pods.reduce((n, p) => n + p.in_flight, 0)) },
    { name: "Envoys in sync", value: synced("envoy") },
    { name: "extprocs in sync", value: synced("extproc") },
    ...leases(state.extprocs),
    { name: state.issues.length === 1 ? "open issue" : "open issues", value: whole(state.issues.length) },
  ];
}

function show(state) {
  shown = state;
  const config = byId("config");
  setText(config, state.process.config_error ? `The newest configuration is not in force: ${state.process.config_error}` : "");
  config.hidden = !state.process.config_error;
  const degraded = byId("degraded");
  setText(degraded, state.process.degraded.join(" · "));
  degraded.hidden = state.process.degraded.length === 0;
  const up = age((Date.parse(state.time) - Date.parse(state.process.started)) / 1000);
  setText(byId("process"), `xds-server ${state.process.version} · up ${up}${state.process.ready ? "" : " · not ready"}`);
  keep(byId("totals"), totals(state), (t) => t.name.replace(/s$/, ""), () => el("li", "", el("strong"), el("span")), (item, t) => {
    setText(item.firstChild, t.value);
    setText(item.lastChild, t.name);
  });
  showIssues(state);
  keep(byId("services"), state.services, (s) => s.name, createService, updateService);
  showClients(state.clients);
  showExtprocs(state.extprocs);
}

// --- orders ----------------------------------------------------------------

const dialog = byId("confirm");
let asked = null;

function ask(service, pod, order) {
  if (pod.state === order.state) return;
  asked = { service, pod: pod.name, order };
  setText(byId("confirm-title"), `${order.label} ${pod.name}?`);
  setText(byId("confirm-text"), order.text(pod.name, pod.sessions));
  setText(byId("confirm-yes"), order.label);
  byId("confirm-error").hidden = true;
  byId("confirm-yes").disabled = false;
  dialog.showModal();
}

async function send() {
  const { service, pod, order } = asked;
  byId("confirm-yes").disabled = true;
  try {
    const path = ["/api/v1/services", encodeURIComponent(service), "pods", encodeURIComponent(pod), order.verb].join("/");
    const answer = await fetch(path, { method: "POST", signal: AbortSignal.timeout(10000) });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error);
    dialog.close();
    say(`${pod} is ${body.state}.`);
  } catch (err) {
    setText(byId("confirm-error"), err.message);
    byId("confirm-error").hidden = false;
    byId("confirm-yes").disabled = false;
  }
}

let toastTimer = 0;

function say(text) {
  const toast = byId("toast");
  toast.hidden = false;
  setText(toast, text);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { toast.hidden = true; }, 6000);
}

byId("confirm-no").addEventListener("click", () => dialog.close());
byId("confirm-yes").addEventListener("click", send);

// --- the stream ------------------------------------------------------------

let source = null;
let heard = performance.now();

function connect() {
  source?.close();
  heard = performance.now();
  source = new EventSource("/api/v1/live");
  source.addEventListener("chart", (event) => {
    history = JSON.parse(event.data);
    if (shown) show(shown);
  });
  source.addEventListener("state", (event) => {
    heard = performance.now();
    show(JSON.parse(event.data));
    setBadge(byId("link"), "live", "good");
  });
  source.addEventListener("error", lost);
}

function lost() {
  setBadge(byId("link"), shown ? `stale since ${clock(shown.time)}, reconnecting` : "no connection, trying again", "bad");
}

// The browser reconnects after a broken connection, but not after a refusal, and
// it does not notice a connection that only went silent.
setInterval(() => {
  const silent = performance.now() - heard;
  if (silent < staleAfter && source.readyState !== EventSource.CLOSED) return;
  lost();
  if (silent > staleAfter || source.readyState === EventSource.CLOSED) connect();
}, 2000);

connect();
