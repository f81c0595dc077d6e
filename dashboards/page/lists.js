// What stands in words: the events, the shoals, the feeds, the tiles.
import { brief } from "./layout.js";
import { GROUPS, KINDS, el, fixed, glyph, inGroup, percent, seconds, shoalTitle, short, svg, when, whole } from "./words.js";

const SHOWN = 150;
const RATES = 60;

export class EventList {
  constructor(root, filter, palette, onPick) {
    Object.assign(this, { root, filter, palette, onPick, events: [], known: new Set(), group: "all" });
    filter.append(...Object.entries(GROUPS).map(([name, text]) => el("button", { type: "button", "aria-pressed": String(name === "all"), onclick: () => this.choose(name) }, text)));
  }

  choose(group) {
    this.group = group;
    Object.keys(GROUPS).forEach((name, i) => this.filter.children[i].setAttribute("aria-pressed", String(name === group)));
    this.show(this.events);
  }

  show(events) {
    this.events = events;
    this.known = new Set(events.map((e) => e.id));
    const chosen = events.filter((e) => inGroup(e.kind, this.group)).slice(0, SHOWN);
    if (chosen.length) this.root.replaceChildren(...chosen.map((e) => this.row(e)));
    else this.root.replaceChildren(el("li", { class: "empty" }, el("p", {}, events.length ? "nothing of this kind yet" : "quiet so far: no coin has left its shoal")));
  }

  // Puts an event that has just come on top; false if it is there already.
  add(event) {
    if (this.known.has(event.id)) return false;
    this.known.add(event.id);
    this.events.unshift(event);
    this.events.length = Math.min(this.events.length, 500);
    if (!inGroup(event.kind, this.group)) return true;
    this.root.querySelector(".empty")?.remove();
    const row = this.row(event);
    row.classList.add("fresh");
    this.root.prepend(row);
    while (this.root.children.length > SHOWN) this.root.lastChild.remove();
    return true;
  }

  row(e, withReasons = false) {
    const newest = this.events[0]?.as_of;
    const pick = e.coin_id && e.kind in KINDS ? () => this.onPick(e.coin_id) : null;
    const path = [["from", e.shoal_from, e.name_from], ["to", e.shoal_to, e.name_to]].filter(([, n]) => n !== null);
    return el("li", { class: `event ${pick && !withReasons ? "coinful" : ""}`, "data-id": e.id, "data-kind": e.kind, onclick: withReasons ? null : pick },
      glyph(e.kind), el("p", {}, brief(e.text)), el("time", { datetime: e.as_of, title: `${e.as_of} (event time)` }, when(e.as_of, newest)),
      path.length ? el("div", { class: "more" }, ...path.flatMap(([, n, name], i) => [i ? "→" : "", el("span", { class: `chip soft ${this.palette.of(n)}` }, shoalTitle(brief(name), n))])) : null,
      withReasons && e.reasons.length ? el("ul", {}, ...e.reasons.map((r) => el("li", {}, brief(r)))) : null);
  }
}

export function shoalTable(root, shoals, palette, names, map, onPick) {
  if (!shoals.length) { root.replaceChildren(el("div", { class: "empty" }, el("p", {}, "no shoals yet"))); return; }
  const most = Math.max(...shoals.map((s) => s.size || s.coins.length));
  const head = el("tr", {}, ...["Shoal", "Coins", "Members", "Since"].map((t) => el("th", { scope: "col", class: t === "Since" ? "born" : null }, t)));
  const rows = shoals.map((s) => {
    const meter = el("span", { class: `meter ${palette.of(s.shoal)}` }, el("i"));
    meter.firstChild.style.width = `${(100 * (s.size || s.coins.length)) / most}%`;
    const first = [s.exemplar, ...s.coins.filter((c) => c !== s.exemplar)].filter(Boolean);
    const members = first.slice(0, 12).map((id) => el("button", { type: "button", onclick: () => onPick(id) }, names.get(id) || id));
    if (first.length > 12) members.push(el("small", {}, `and ${first.length - 12} more`));
    return el("tr", { class: "row", onpointerenter: () => map.highlight(s.shoal), onpointerleave: () => map.highlight(null) },
      el("td", { class: "name" }, el("span", { class: `chip ${palette.of(s.shoal)}` }, brief(s.name) || `shoal ${s.shoal}`), " ", el("small", {}, `#${s.shoal}`)),
      el("td", { class: "num" }, meter, whole(s.size ?? s.coins.length)),
      el("td", {}, el("div", { class: `names ${palette.of(s.shoal)}` }, ...members)),
      el("td", { class: "num born" }, el("small", {}, when(s.born_as_of, s.as_of))));
  });
  root.replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
}

export class FeedList {
  constructor(root) {
    Object.assign(this, { root, feeds: new Map(), seen: new Map() });
  }

  show(feeds) {
    for (const f of feeds) this.note(f);
    this.draw();
  }

  update(feed) { this.note(feed); this.draw(); }

  note(feed) {
    this.feeds.set(feed.feed, feed);
    const now = performance.now(), was = this.seen.get(feed.feed);
    if (feed.events === undefined) return;
    if (!was) { this.seen.set(feed.feed, { at: now, events: feed.events, rates: [] }); return; }
    if (now - was.at < 900) return;
    was.rates.push(Math.max(0, (1000 * (feed.events - was.events)) / (now - was.at)));
    was.rates.splice(0, was.rates.length - RATES);
    Object.assign(was, { at: now, events: feed.events });
  }

  draw() {
    if (!this.feeds.size) { this.root.replaceChildren(el("div", { class: "empty" }, el("p", {}, "no feed has been heard yet"))); return; }
    this.root.replaceChildren(...[...this.feeds.values()].sort((a, b) => a.feed.localeCompare(b.feed)).map((f) => this.line(f)));
  }

  line(f) {
    const rates = this.seen.get(f.feed)?.rates ?? [], last = rates.slice(-8), rate = last.length ? last.reduce((a, b) => a + b, 0) / last.length : undefined;
    const fact = (value, text, alarm) => el("span", { class: alarm ? "alarm" : null }, el("b", {}, value), ` ${text}`);
    const open = (f.gap_events_missing ?? 0) - (f.gap_events_filled ?? 0);
    const again = Object.values(f.reconnects ?? {}).reduce((a, b) => a + b, 0);
    const facts = [
      fact(short(f.events ?? 0), "events"),
      rate === undefined ? null : fact(rate < 10 ? fixed(rate, 1) : short(Math.round(rate)), "a second"),
      f.last_event ? fact(seconds(f.lag_seconds), "behind") : null,
      f.head_height >= 0 ? fact(whole(f.head_height), "head") : null,
      f.final_height >= 0 ? fact(whole(f.final_height), "final") : null,
      f.reorgs ? fact(whole(f.reorgs), f.reorgs === 1 ? "reorg" : "reorgs") : null,
      fact(whole(f.gaps ?? 0), f.gaps === 1 ? "gap" : "gaps"),
      open > 0 ? fact(whole(open), "events missing", true) : null,
      again ? fact(whole(again), again === 1 ? "reconnect" : "reconnects") : null,
      f.parse_errors ? fact(whole(f.parse_errors), "unreadable", true) : null,
    ];
    return el("div", { class: `feedline ${f.up ? "up" : ""}`, "data-feed": f.feed },
      el("h3", {}, el("i", { "aria-hidden": "true" }), f.feed, el("small", {}, f.up ? "up" : "down")), spark(rates), el("div", { class: "facts" }, ...facts));
  }
}

function spark(rates) {
  const node = svg("svg", { viewBox: "0 0 120 34", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (rates.length < 2) return node;
  const top = Math.max(...rates, 1e-9), step = 120 / (rates.length - 1);
  const d = rates.map((r, i) => `${i ? "L" : "M"}${(i * step).toFixed(1)} ${(32 - (28 * r) / top).toFixed(1)}`).join("");
  node.append(svg("path", { class: "area", d: `${d}L120 34L0 34Z` }), svg("path", { class: "rate", d }));
  return node;
}

export function tiles(root, { map, drift, events, mix }) {
  const fit = map?.fit, last = drift[drift.length - 1], away = map?.coins.filter((c) => c.home !== null && c.shoal !== c.home).length ?? 0;
  const left = events.filter((e) => e.kind === "left"), regime = mix[mix.length - 1]?.regime;
  const tile = (title, value, note, unit) => el("dl", { class: "tile" }, el("dt", {}, title), el("dd", {}, value, unit ? el("span", { class: "unit" }, unit) : null), el("small", {}, note));
  root.replaceChildren(
    tile("Shoals", whole(fit?.clusters ?? null), fit ? (fit.converged ? "the fit converged" : "the fit did not converge") : "no fit yet"),
    tile("Coins", whole(fit?.coins ?? null), fit ? `${percent(fit.coverage, 1)} of their data received` : ""),
    tile("Agreement", fixed(last?.ari ?? null), "with the fit before (ARI)"),
    tile("Away", whole(map?.coins.length ? away : null), "coins not with their home"),
    tile("Departures", whole(left.length), left.length ? `latest: ${brief(left[0].coin_id)}` : "none seen"),
    tile("Price regime", regime && regime !== "unknown" ? regime : "–", mix.length ? `of ${mix[mix.length - 1].chain}` : "no composition yet"),
  );
}
