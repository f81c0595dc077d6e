// The same map for a whole market: thousands of coins are points, exemplars carry the names.
import { byShoal } from "./layout.js";
import { el, colour } from "./words.js";

const REACH = 14;

export class CanvasMap {
  constructor(map) {
    this.map = map;
    this.node = el("canvas", { tabindex: 0, role: "application", "aria-label": "Market map: arrow keys go from coin to coin, Enter opens one" });
    this.at = -1;
    this.node.addEventListener("pointermove", (e) => this.pick(this.nearest(e)));
    this.node.addEventListener("pointerleave", () => this.pick(-1));
    this.node.addEventListener("click", (e) => { const i = this.nearest(e); if (i >= 0) map.onPick(map.data.coins[i].coin_id); });
    this.node.addEventListener("blur", () => this.pick(-1));
    this.node.addEventListener("keydown", (e) => this.key(e));
  }

  draw(width, height) {
    const { map, node } = this, scale = devicePixelRatio || 1;
    node.width = width * scale;
    node.height = height * scale;
    const g = node.getContext("2d");
    g.scale(scale, scale);
    const paint = (number) => { const slot = map.palette.of(number); return colour(slot === "cnone" ? "faint" : slot); };
    g.strokeStyle = colour("edge");
    g.globalAlpha = 0.16;
    g.lineWidth = 0.7;
    g.beginPath();
    for (const [a, b] of map.data.edges) {
      const p = map.places.get(a), q = map.places.get(b);
      if (p && q) { g.moveTo(p.x, p.y); g.lineTo(q.x, q.y); }
    }
    g.stroke();
    g.globalAlpha = 0.85;
    for (const [number, members] of byShoal(map.data.coins)) {
      g.fillStyle = paint(number);
      for (const c of members) { const p = map.places.get(c.coin_id); g.beginPath(); g.arc(p.x, p.y, c.is_exemplar ? 6 : 2.8, 0, 7); g.fill(); }
    }
    g.globalAlpha = 1;
    g.font = "600 11px Inter, sans-serif";
    g.textAlign = "center";
    g.lineWidth = 3;
    g.strokeStyle = colour("card");
    g.fillStyle = colour("ink");
    const boxes = [];
    for (const c of map.data.coins.filter((coin) => coin.is_exemplar)) {
      const p = map.places.get(c.coin_id), text = map.names.get(c.coin_id), w = g.measureText(text).width / 2;
      if (boxes.some((b) => Math.abs(b.x - p.x) < b.w + w && Math.abs(b.y - p.y) < 13)) continue;
      boxes.push({ x: p.x, y: p.y, w });
      g.strokeText(text, p.x, p.y - 9);
      g.fillText(text, p.x, p.y - 9);
    }
    if (!node.isConnected) map.stage.replaceChildren(node, map.tip);
    map.tip.hidden = true;
  }

  nearest(event) {
    const box = this.node.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, least = REACH * REACH;
    this.map.data.coins.forEach((c, i) => {
      const p = this.map.places.get(c.coin_id), d = (p.x - x) ** 2 + (p.y - y) ** 2;
      if (d < least) { least = d; best = i; }
    });
    return best;
  }

  pick(i) {
    this.at = i;
    if (i < 0) this.map.tip.hidden = true;
    else this.map.explain(this.map.data.coins[i]);
  }

  key(event) {
    const coins = this.map.data.coins, step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); this.pick((this.at + step + coins.length) % coins.length); }
    else if (event.key === "Enter" && this.at >= 0) this.map.onPick(coins[this.at].coin_id);
  }
}
