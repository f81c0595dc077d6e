// The market map as SVG (or, above 500 coins, on a canvas): coins in their places, shoals as water around them.
import { CanvasMap } from "./canvas.js";
import { brief, byShoal, hull, labels, layout, placeLabels } from "./layout.js";
import { el, fixed, percent, shoalTitle, signed, svg } from "./words.js";

const ON_CANVAS = 500;
const GLIDE_MS = 700;

export class MarketMap {
  constructor(stage, palette, onPick) {
    Object.assign(this, { stage, palette, onPick, data: null, places: new Map(), nodes: new Map(), news: new Set() });
    this.tip = el("div", { class: "tip", role: "tooltip", hidden: true });
    new ResizeObserver(() => this.data && this.draw(false)).observe(stage);
    addEventListener("shoal-theme", () => this.data && this.canvas && this.draw(false));
  }

  show(data) {
    this.data = data;
    this.draw(true);
  }

  announce(coin) {
    this.news.add(coin);
    this.nodes.get(coin)?.g.classList.add("news");
    setTimeout(() => { this.news.delete(coin); this.nodes.get(coin)?.g.classList.remove("news"); }, 7000);
  }

  draw(glide) {
    const { data, stage } = this;
    if (!data.coins.length) { this.empty(data); return; }
    const width = stage.clientWidth, height = stage.clientHeight;
    if (!width || !height) return;
    this.names = labels(data.coins.map((c) => c.coin_id));
    const target = layout(data.coins, width, height);
    if (data.coins.length > ON_CANVAS) {
      this.canvas ??= new CanvasMap(this);
      this.places = target;
      this.nodes.clear();
      this.canvas.draw(width, height);
      return;
    }
    this.canvas = null;
    const from = new Map(this.places);
    this.build(width, height, target);
    const still = !glide || !from.size || matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden;
    cancelAnimationFrame(this.frame);
    if (still) { this.move(target); return; }
    const start = performance.now();
    const step = (now) => {
      const t = Math.min(1, (now - start) / GLIDE_MS), ease = 1 - (1 - t) ** 3;
      this.move(new Map([...target].map(([id, p]) => {
        const q = from.get(id) || p;
        return [id, { x: q.x + (p.x - q.x) * ease, y: q.y + (p.y - q.y) * ease }];
      })));
      if (t < 1) this.frame = requestAnimationFrame(step);
    };
    step(start);
  }

  build(width, height, target) {
    const focused = document.activeElement?.dataset?.coin;
    const { data, palette } = this;
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Market map: ${data.coins.length} coins` });
    this.hulls = [...byShoal(data.coins)].filter(([, m]) => m.length > 1).map(([number, members]) => {
      const path = svg("path", { class: `hull ${palette.of(number)}` });
      const title = svg("text", { class: `title ${palette.of(number)}`, "text-anchor": "middle" });
      title.textContent = shoalTitle(brief(members[0].name), number);
      root.append(path, title);
      return { number, path, title, members: members.map((c) => c.coin_id) };
    });
    const shoalOf = new Map(data.coins.map((c) => [c.coin_id, c.shoal]));
    this.lines = data.edges.filter(([a, b]) => target.has(a) && target.has(b)).map(([a, b, rho]) => {
      const inside = shoalOf.get(a) !== null && shoalOf.get(a) === shoalOf.get(b);
      const strength = Math.min(1, Math.abs(rho ?? 0) / 0.4);
      const line = svg("line", { class: `edge ${rho < 0 ? "against" : ""} ${inside ? `inside ${palette.of(shoalOf.get(a))}` : ""}`, "stroke-width": (0.7 + 2 * strength).toFixed(2), opacity: (rho < 0 ? 0.05 + 0.06 * strength : 0.16 + (inside ? 0.42 : 0.22) * strength).toFixed(2) });
      root.append(line);
      return { a, b, line };
    });
    const items = data.coins.map((c) => ({ id: c.coin_id, text: this.names.get(c.coin_id), radius: c.is_exemplar ? 9.5 : 6.2, size: c.is_exemplar ? 13 : 11 }));
    const places = placeLabels(items, target, width);
    this.nodes = new Map();
    const order = [...data.coins.keys()].sort((i, j) => (data.coins[i].shoal ?? 1e9) - (data.coins[j].shoal ?? 1e9) || Number(data.coins[j].is_exemplar) - Number(data.coins[i].is_exemplar) || i - j);
    for (const i of order) root.append(this.coin(data.coins[i], items[i], places.get(items[i].id)));
    root.addEventListener("pointerleave", () => this.point(null));
    this.stage.replaceChildren(root, this.tip);
    this.root = root;
    this.tip.hidden = true;
    if (focused) this.nodes.get(focused)?.g.focus({ preventScroll: true });
  }

  coin(c, item, label) {
    const away = c.home !== null && c.shoal !== c.home;
    const where = c.shoal === null ? "in no shoal" : `in ${shoalTitle(brief(c.name), c.shoal)}`;
    const g = svg("g", {
      class: `coin ${this.palette.of(c.shoal)} ${c.is_exemplar ? "exemplar" : ""} ${label.crowded && !c.is_exemplar ? "crowded" : ""} ${this.news.has(c.coin_id) ? "news" : ""}`,
      tabindex: 0, role: "button", "data-coin": c.coin_id,
      "aria-label": `${item.text}, ${where}${c.is_exemplar ? ", its exemplar" : ""}${away ? ", away from home" : ""}, margin ${fixed(c.margin)}`,
    },
    svg("circle", { class: "pulse", r: 8 }),
    c.is_exemplar && svg("circle", { class: "ring", r: item.radius + 3.6 }),
    away && svg("circle", { class: "away", r: item.radius + 3.6 }),
    svg("circle", { class: "body", r: item.radius }),
    svg("circle", { class: "focus", r: item.radius + 6 }),
    svg("circle", { r: 15, fill: "transparent" }));
    const text = svg("text", { x: label.dx, y: label.dy, "text-anchor": label.anchor });
    text.textContent = item.text;
    g.append(text);
    g.addEventListener("pointerenter", () => this.point(c));
    g.addEventListener("focus", () => this.point(c));
    g.addEventListener("blur", () => this.point(null));
    g.addEventListener("click", () => this.onPick(c.coin_id));
    g.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); this.onPick(c.coin_id); } });
    this.nodes.set(c.coin_id, { g, c });
    return g;
  }

  move(at) {
    this.places = at;
    for (const [id, { g }] of this.nodes) { const p = at.get(id); g.setAttribute("transform", `translate(${p.x.toFixed(1)} ${p.y.toFixed(1)})`); }
    for (const { a, b, line } of this.lines) {
      const p = at.get(a), q = at.get(b);
      line.setAttribute("x1", p.x.toFixed(1)); line.setAttribute("y1", p.y.toFixed(1));
      line.setAttribute("x2", q.x.toFixed(1)); line.setAttribute("y2", q.y.toFixed(1));
    }
    for (const { path, title, members } of this.hulls) {
      const points = hull(members.map((id) => at.get(id))), top = points.reduce((a, b) => (b.y < a.y ? b : a));
      path.setAttribute("d", `M${points.map((p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`).join("L")}Z`);
      const under = points.reduce((a, b) => (b.y > a.y ? b : a));
      const spots = [{ x: top.x, y: Math.max(14, top.y - 31) }, { x: under.x, y: under.y + 42 }];
      const crowd = spots.map((s) => [...at.values()].filter((p) => Math.abs(p.x - s.x) < 62 && Math.abs(p.y - s.y + 4) < 17).length);
      const spot = spots[crowd[1] < crowd[0] && spots[1].y < this.stage.clientHeight - 6 ? 1 : 0];
      title.setAttribute("x", spot.x.toFixed(1));
      title.setAttribute("y", spot.y.toFixed(1));
    }
  }

  // Shows what belongs to a coin, and says where it stands.
  point(c) {
    this.root?.classList.toggle("dim", c !== null);
    for (const { g } of this.nodes.values()) g.classList.remove("near");
    for (const { line } of this.lines ?? []) line.classList.remove("near");
    for (const { path } of this.hulls ?? []) path.classList.remove("near");
    this.tip.hidden = c === null;
    if (c === null) return;
    this.nodes.get(c.coin_id)?.g.classList.add("near");
    for (const { a, b, line } of this.lines ?? []) {
      if (a !== c.coin_id && b !== c.coin_id) continue;
      line.classList.add("near");
      this.nodes.get(a === c.coin_id ? b : a)?.g.classList.add("near");
    }
    for (const { number, path } of this.hulls ?? []) if (number === c.shoal) path.classList.add("near");
    this.explain(c);
  }

  explain(c) {
    const away = c.home !== null && c.shoal !== c.home;
    this.tip.replaceChildren(
      el("b", {}, c.coin_id),
      el("span", {}, c.shoal === null ? "in no shoal: the fit did not converge" : `${shoalTitle(brief(c.name), c.shoal)}${c.is_exemplar ? ", its exemplar" : ""}`),
      el("span", {}, `margin ${signed(c.margin)}, coverage ${percent(c.coverage, 1)}`),
      away ? el("span", {}, "moves with others than its home") : "",
    );
    const p = this.places.get(c.coin_id);
    this.tip.hidden = false;
    const w = this.tip.offsetWidth, h = this.tip.offsetHeight;
    this.tip.style.left = `${Math.max(6, Math.min(this.stage.clientWidth - w - 6, p.x - w / 2))}px`;
    this.tip.style.top = `${p.y - h - 20 > 4 ? p.y - h - 20 : p.y + 24}px`;
  }

  highlight(number) {
    this.root?.classList.toggle("dim", number !== null);
    for (const { g, c } of this.nodes.values()) g.classList.toggle("near", number !== null && c.shoal === number);
    for (const { number: own, path } of this.hulls ?? []) path.classList.toggle("near", own === number);
  }

  empty(data) {
    this.nodes.clear();
    this.places = new Map();
    const bar = el("div", { class: "bar" }, el("i"));
    const match = /(\d+) of (\d+)/.exec(data.waiting || "");
    if (match) bar.firstChild.style.width = `${Math.min(100, (100 * match[1]) / match[2])}%`;
    this.stage.replaceChildren(el("div", { class: "empty" },
      svg("svg", { viewBox: "0 0 40 28" }, svg("path", { d: "M2 8c4.5-5 11-5 15.5 0-4.5 5-11 5-15.5 0zM16.5 8l5.5-3.7v7.4zM13 20c4.5-5 11-5 15.5 0-4.5 5-11 5-15.5 0zM27.5 20l5.5-3.7v7.4z", fill: "currentColor" })),
      el("p", {}, data.waiting || "no coins yet"), match ? bar : null));
  }
}
