// Puts the page together: reads the API once, then follows the stream.
import { DriftChart, MixChart } from "./charts.js";
import { CoinPanel } from "./coin.js";
import { EventList, FeedList, shoalTable, tiles } from "./lists.js";
import { labels } from "./layout.js";
import { MarketMap } from "./map.js";
import { Palette } from "./palette.js";
import { el, svg, when } from "./words.js";

const $ = (id) => document.getElementById(id);
const AFTER_FIT_MS = [250, 1800];
const STATUS_MS = 5000;

const get = async (path) => {
  const answer = await fetch(`/api/v1/${path}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw Object.assign(new Error((await answer.json().catch(() => ({}))).error ?? answer.statusText), { status: answer.status });
  return answer.json();
};

const state = { window: null, view: null, windows: [], map: null, drift: [], mix: [], chain: null, ready: false };
const palette = new Palette();
const pick = (coin) => panel.open(coin);
const map = new MarketMap($("map"), palette, pick);
const events = new EventList($("feed"), $("kinds"), palette, pick);
const feeds = new FeedList($("feeds"));
const panel = new CoinPanel($("coin"), palette, events, get);
const drift = new DriftChart($("drift"), $("drift-legend"));
const mix = new MixChart($("mix"), $("shares"), $("mix-note"));

async function readStatus() {
  const [status, { windows }] = await Promise.all([get("status"), get("windows")]);
  state.ready = status.ready;
  $("ready").className = `pill ${status.ready ? "ok" : ""}`;
  $("ready").lastChild.textContent = status.ready ? "live" : `starting: ${status.missing.length} to come`;
  $("missing").replaceChildren(el("ul", {}, ...(status.ready ? ["everything expected has been published"] : status.missing).map((m) => el("li", {}, m))));
  const marks = Object.entries(status.watermarks).map(([branch, t]) => `${branch} complete to ${when(t)} UTC`);
  $("build").textContent = [status.version && `Shoal ${status.version}`, ...marks].filter(Boolean).join(", ");
  const shape = JSON.stringify(windows.map((w) => [w.name, w.views.map((v) => v.view)]));
  if (shape !== state.shape) { state.shape = shape; state.windows = windows; choices(); }
}

function choices() {
  const here = state.windows.find((w) => w.name === state.window) ?? state.windows[0];
  state.window = here?.name ?? null;
  state.view = here?.views.find((v) => v.view === state.view)?.view ?? here?.views[0]?.view ?? null;
  const group = (label, names, chosen, choose) => el("div", { class: "segments", role: "group", "aria-label": label },
    ...names.map((n) => el("button", { type: "button", "aria-pressed": String(n === chosen), onclick: () => choose(n) }, n)));
  const go = (part) => (name) => { state[part] = name; choices(); readMarket(); };
  $("pick").replaceChildren(...(here ? [group("Window", state.windows.map((w) => w.name), state.window, go("window")), group("View", here.views.map((v) => v.view), state.view, go("view"))] : []));
}

async function readMarket() {
  if (!state.window) { map.show({ coins: [], edges: [], waiting: "the service is starting" }); drift.show([], []); tiles($("tiles"), view()); return; }
  const where = `window=${encodeURIComponent(state.window)}&view=${encodeURIComponent(state.view)}`;
  const [market, moved, shoals] = await Promise.all([get(`map?${where}`), get(`drift?${where}`), get(`shoals?${where}`)]);
  if (market.window !== state.window || market.view !== state.view) return;
  Object.assign(state, { map: market, drift: moved.points });
  palette.assign([...market.coins.map((c) => c.shoal), ...shoals.shoals.map((s) => s.shoal)]);
  map.show(market);
  const names = labels(market.coins.map((c) => c.coin_id));
  if (palette.changed) events.show(events.events);
  shoalTable($("shoals"), shoals.shoals, palette, names, map, pick);
  $("map-note").textContent = market.as_of ? `Coins that move together lie together; fit of ${when(market.as_of, null)} UTC` : "Coins that move together lie together";
  drawKey();
  redraw();
}

const here = (e) => e.window !== state.window || e.view === state.view || !e.view;
const view = () => ({ map: state.map, drift: state.drift, events: events.events.filter((e) => e.window === state.window && e.view === state.view), mix: state.mix });

function redraw() {
  drift.show(state.drift, events.events.filter((e) => e.window === state.window && here(e)));
  tiles($("tiles"), view());
}

async function readEvents() {
  events.show((await get("events?limit=300")).events);
}

async function readMix() {
  const data = await get("composition");
  Object.assign(state, { mix: data.points, chain: data.chain });
  mix.show(state.mix, data.chain);
}

async function readFeeds() {
  feeds.show((await get("feeds")).feeds);
}

async function readAll() {
  await readStatus();
  await Promise.all([readEvents(), readMix(), readFeeds()]);
  await readMarket();
}

function drawKey() {
  const item = (text, ...shapes) => el("span", {}, svg("svg", { viewBox: "0 0 22 14", class: "cnone" }, ...shapes), text);
  const dot = (r, extra = {}) => svg("circle", { cx: 11, cy: 7, r, fill: "var(--faint)", ...extra });
  $("map-key").replaceChildren(
    item("coin", dot(4)), item("exemplar of its shoal", dot(4.5), svg("circle", { cx: 11, cy: 7, r: 6.3, fill: "none", stroke: "var(--faint)" })),
    item("moves away from its home", dot(4), svg("circle", { cx: 11, cy: 7, r: 6.3, fill: "none", stroke: "var(--bad)", "stroke-dasharray": "2.5 2.5" })),
    item("partial correlation", svg("path", { d: "M2 10L20 4", stroke: "var(--faint)", "stroke-width": 2 })),
    item("negative", svg("path", { d: "M2 10L20 4", stroke: "var(--faint)", "stroke-width": 2, opacity: 0.25 })));
}

let timers = [];
function afterFit(message) {
  if (message.window !== state.window && state.window !== null) return;
  timers.forEach(clearTimeout);
  timers = AFTER_FIT_MS.map((ms) => setTimeout(() => { attempt(readMarket()); attempt(panel.refresh()); attempt(readStatus()); }, ms));
}

const lost = (text) => { $("lost").hidden = !text; $("lost").textContent = text ?? ""; };
const attempt = (promise) => promise.then(() => lost(null), (error) => lost(error.status ? `the service answered: ${error.message}` : "the service does not answer; trying again"));

function follow() {
  const stream = new EventSource("/api/v1/stream");
  let open = false;
  const on = (kind, act) => stream.addEventListener(kind, (e) => act(JSON.parse(e.data)));
  stream.addEventListener("open", () => { document.documentElement.dataset.stream = "open"; if (open || !state.ready) attempt(readAll()); open = true; lost(null); });
  stream.addEventListener("error", () => {
    document.documentElement.dataset.stream = "lost";
    $("ready").className = "pill bad";
    $("ready").lastChild.textContent = "connection lost";
    lost("The connection to the service is lost. What you see is the last that came; the page connects again by itself.");
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  });
  on("fit", afterFit);
  on("event", (e) => { if (events.add(e)) { if (e.coin_id) map.announce(e.coin_id); redraw(); } });
  on("composition", () => attempt(readMix().then(redraw)));
  on("feed", (f) => feeds.update(f));
}

const SUN = "M12 4V2M12 22v-2M4 12H2M22 12h-2M6 6L4.6 4.6M19.4 19.4L18 18M18 6l1.4-1.4M4.6 19.4L6 18M12 8a4 4 0 100 8 4 4 0 000-8z";
const THEMES = { auto: ["as the system", "M12 3a9 9 0 100 18zM12 3a9 9 0 010 18"], light: ["light", SUN], dark: ["dark", "M20 14.5A8.5 8.5 0 019.5 4a8.5 8.5 0 1010.5 10.5z"] };
function themeButton() {
  const [text, path] = THEMES[document.documentElement.dataset.choice] ?? THEMES.auto;
  $("theme").replaceChildren(svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: path })));
  $("theme").setAttribute("aria-label", `Colours: ${text}`);
  $("theme").title = `Colours: ${text}`;
}

$("theme").addEventListener("click", () => window.shoalTheme.next());
addEventListener("shoal-theme", themeButton);
$("ready").addEventListener("click", () => { $("missing").hidden = !$("missing").hidden; $("ready").setAttribute("aria-expanded", String(!$("missing").hidden)); });
themeButton();
drawKey();
attempt(readAll()).then(follow);
setInterval(() => { if (document.documentElement.dataset.stream !== "lost") attempt(readStatus().then(() => (state.ready && state.map?.coins.length ? null : readAll()))); }, STATUS_MS);
