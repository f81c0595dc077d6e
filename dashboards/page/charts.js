// The two charts over time: drift of a view, and the mix of behaviours. uPlot draws; the numbers stand beside it.
import { BEHAVIOURS, colour, el, fixed, percent, whole } from "./words.js";

const uPlot = window.uPlot;
const MARKED = { left: "c1", joined: "c1", split: "c4", merged: "c4", born: "c4", died: "c4", drift: "c6", structure_shift: "c6" };
const seconds = (iso) => Date.parse(iso) / 1000;

class Chart {
  constructor(root) {
    this.root = root;
    this.plot = null;
    new ResizeObserver(() => this.plot && this.plot.setSize(this.size())).observe(root);
    addEventListener("shoal-theme", () => { this.plot?.destroy(); this.plot = null; this.redraw?.(); });
  }

  size() { return { width: Math.max(220, this.root.clientWidth - 12), height: Math.max(180, this.root.clientHeight - 10) }; }

  empty(text) {
    this.plot?.destroy();
    this.plot = null;
    this.root.replaceChildren(el("div", { class: "empty" }, el("p", {}, text)));
  }

  set(data, options) {
    if (this.plot) { this.plot.setData(data); return; }
    this.root.replaceChildren();
    this.plot = new uPlot({ ...this.size(), legend: { show: false }, tzDate: (t) => uPlot.tzDate(new Date(t * 1000), "UTC"), ...options }, data, this.root);
  }

  axes(percents) {
    const ink = colour("faint"), grid = { stroke: colour("grid"), width: 1 };
    const shared = { stroke: ink, font: "11px Inter, sans-serif", ticks: { show: false } };
    return [
      { ...shared, grid: { show: false }, space: 76, size: 30, values: clockOf },
      { ...shared, grid, size: 46, values: (_, v) => v.map((x) => (percents ? percent(x) : fixed(x, 1))) },
    ];
  }
}

function clockOf(_, ticks) {
  const far = ticks.length > 1 && ticks[ticks.length - 1] - ticks[0] > 3 * 86400;
  return ticks.map((t) => { const d = new Date(t * 1000); return far ? d.toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }) : d.toISOString().slice(11, 16); });
}

export class DriftChart extends Chart {
  constructor(root, legend) {
    super(root);
    Object.assign(this, { legend, points: [], events: [] });
    this.redraw = () => this.show(this.points, this.events);
  }

  show(points, events) {
    this.points = points;
    this.events = events.filter((e) => MARKED[e.kind]);
    const usable = points.filter((p) => p.ari !== null || p.churn !== null);
    const last = usable[usable.length - 1];
    this.legend.replaceChildren(
      el("span", { class: "chip soft c-ari", title: "Adjusted Rand index of each fit against the one before" }, "agreement (ARI) ", el("b", {}, fixed(last?.ari))),
      el("span", { class: "chip soft c-churn", title: "Share of coins that changed shoal since the fit before" }, "churn ", el("b", {}, percent(last?.churn, 1))),
      el("span", { class: "chip soft mark c-event" }, "events"),
    );
    if (usable.length < 2) { this.empty(usable.length ? "a second comparison of fits comes with the next fit" : "two fits make the first point"); return; }
    const data = [usable.map((p) => seconds(p.as_of)), usable.map((p) => p.ari), usable.map((p) => p.churn)];
    this.set(data, {
      scales: { y: { range: (_, low) => [Math.min(0, low ?? 0), 1.08] } },
      axes: this.axes(false),
      cursor: { points: { size: 7 }, drag: { x: false, y: false } },
      series: [{}, { stroke: colour("accent"), width: 2, fill: `${colour("accent")}1c`, points: { show: usable.length < 40, size: 5 } }, { stroke: colour("c6"), width: 1.8, points: { show: false } }],
      hooks: { draw: [(u) => this.marks(u)] },
    });
  }

  marks(u) {
    const g = u.ctx, { left, top, width, height } = u.bbox, r = devicePixelRatio || 1;
    g.save();
    for (const e of this.events) {
      const x = u.valToPos(seconds(e.as_of), "x", true);
      if (!(x >= left && x <= left + width)) continue;
      g.strokeStyle = g.fillStyle = colour(MARKED[e.kind]);
      g.globalAlpha = 0.3;
      g.lineWidth = r;
      g.beginPath(); g.moveTo(x, top + 7 * r); g.lineTo(x, top + height); g.stroke();
      g.globalAlpha = 1;
      g.beginPath(); g.moveTo(x - 4.5 * r, top); g.lineTo(x + 4.5 * r, top); g.lineTo(x, top + 7 * r); g.fill();
    }
    g.restore();
  }
}

export class MixChart extends Chart {
  constructor(root, shares, note) {
    super(root);
    Object.assign(this, { shares, note, points: [] });
    this.redraw = () => this.show(this.points);
  }

  show(points, chain = this.chain) {
    this.points = points;
    this.chain = chain;
    const kinds = Object.keys(BEHAVIOURS), last = points[points.length - 1];
    if (!last) { this.note.textContent = ""; this.shares.replaceChildren(); this.empty("waiting for the first composition of a chain"); return; }
    const total = kinds.reduce((s, k) => s + last.entities[k], 0);
    const price = ["rising", "stable", "falling"].map((r) => el("span", { class: `chip soft ${r} ${r === last.regime ? "now" : ""}` }, r));
    this.note.replaceChildren(`${whole(total)} addresses on ${chain ?? last.chain}; the price, below:`, ...price);
    const parts = kinds.map((k) => { const i = el("i", { class: k, title: `${BEHAVIOURS[k][0]} ${percent(last.share[k], 1)}` }); i.style.flexGrow = Math.max(last.share[k], 0.0005); return i; });
    this.shares.replaceChildren(
      el("div", { class: "stack", role: "img", "aria-label": kinds.map((k) => `${BEHAVIOURS[k][0]} ${percent(last.share[k])}`).join(", ") }, ...parts),
      el("ul", {}, ...kinds.map((k) => el("li", {}, el("span", { class: `chip ${k}` }, BEHAVIOURS[k][0]), el("b", {}, percent(last.share[k], 1)), el("small", {}, BEHAVIOURS[k][1])))),
    );
    if (points.length < 2) { this.empty("the next composition starts the chart"); return; }
    const sums = points.map((p) => { let s = 0; return kinds.map((k) => (s += p.share[k])); });
    const data = [points.map((p) => seconds(p.as_of)), ...kinds.map((_, i) => sums.map((s) => s[i]))];
    this.set(data, {
      scales: { y: { range: () => [0, 1] } },
      axes: this.axes(true),
      cursor: { points: { show: false }, drag: { x: false, y: false } },
      series: [{}, ...kinds.map((k) => ({ stroke: colour("card"), width: 1.2, fill: `${colour(k)}d4`, points: { show: false } }))],
      bands: [3, 2, 1].map((i) => ({ series: [i + 1, i], fill: `${colour(kinds[i])}d4` })),
      hooks: { draw: [(u) => this.regimes(u)] },
    });
  }

  // A band under the areas says what the price did.
  regimes(u) {
    const g = u.ctx, { left, top, width, height } = u.bbox, r = devicePixelRatio || 1, high = 7 * r;
    g.save();
    g.fillStyle = colour("card");
    g.fillRect(left, top + height - high - 2 * r, width, high + 2 * r);
    this.points.forEach((p, i) => {
      const next = this.points[i + 1];
      if (!next || p.regime === "unknown") return;
      const x = Math.max(left, u.valToPos(seconds(p.as_of), "x", true)), end = Math.min(left + width, u.valToPos(seconds(next.as_of), "x", true));
      g.fillStyle = colour(next.regime) || "transparent";
      g.fillRect(x, top + height - high, Math.max(0, end - x) + 0.5, high);
    });
    g.restore();
  }
}
