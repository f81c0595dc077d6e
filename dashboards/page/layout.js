// From the embedding to places on the screen. The embedding decides who lies where; what is added is legibility:
// outliers are drawn in, shoals are drawn together a little, and coins are moved apart until none hides another.
// A function of its input alone: the same fit gives the same picture.

export function layout(coins, width, height) {
  const known = coins.filter((c) => c.x !== null && c.y !== null);
  const pad = { x: Math.min(70, width * 0.1), y: Math.min(52, height * 0.1) };
  const xs = spread(known.map((c) => c.x), pad.x, width - pad.x);
  const ys = spread(known.map((c) => c.y), height - pad.y, pad.y);
  const at = new Map(known.map((c, i) => [c.coin_id, { x: xs[i], y: ys[i] }]));
  coins.forEach((c, i) => {
    if (!at.has(c.coin_id)) at.set(c.coin_id, { x: width / 2 + 30 * Math.cos(i * 2.4), y: height / 2 + 30 * Math.sin(i * 2.4) });
  });
  gather(coins, at);
  separate(coins, at, width, height, pad);
  return at;
}

// Half by value, half by rank: an embedding with two far outliers still fills the frame.
function spread(values, from, to) {
  if (!values.length) return [];
  const low = Math.min(...values), high = Math.max(...values);
  const order = values.map((v, i) => [v, i]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const rank = new Array(values.length);
  order.forEach(([, i], k) => { rank[i] = values.length > 1 ? k / (values.length - 1) : 0.5; });
  return values.map((v, i) => {
    const linear = high > low ? (v - low) / (high - low) : 0.5;
    return from + (to - from) * (0.5 * linear + 0.5 * rank[i]);
  });
}

export function byShoal(coins) {
  const groups = new Map();
  for (const c of coins) {
    if (c.shoal === null) continue;
    if (!groups.has(c.shoal)) groups.set(c.shoal, []);
    groups.get(c.shoal).push(c);
  }
  return groups;
}

function gather(coins, at) {
  for (const members of byShoal(coins).values()) {
    const n = members.length;
    const cx = members.reduce((s, c) => s + at.get(c.coin_id).x, 0) / n;
    const cy = members.reduce((s, c) => s + at.get(c.coin_id).y, 0) / n;
    for (const c of members) {
      const p = at.get(c.coin_id);
      p.x += 0.3 * (cx - p.x);
      p.y += 0.3 * (cy - p.y);
    }
  }
}

function separate(coins, at, width, height, pad) {
  const points = coins.map((c) => at.get(c.coin_id));
  const anchors = points.map((p) => ({ ...p }));
  const n = points.length;
  const room = Math.sqrt((width * height) / Math.max(n, 1));
  const near = Math.max(10, Math.min(50, room * 0.56));
  const rounds = n <= 120 ? 140 : n <= 600 ? 40 : 6;
  for (let k = 0; k < rounds; k += 1) {
    for (let i = 0; i < n; i += 1) {
      for (let j = i + 1; j < n; j += 1) {
        let dx = points[j].x - points[i].x, dy = (points[j].y - points[i].y) * 1.25;
        let d2 = dx * dx + dy * dy;
        if (d2 > near * near) continue;
        if (d2 < 1e-6) { dx = Math.cos(i + j); dy = Math.sin(i + j); d2 = 1; }
        const d = Math.sqrt(d2), push = (0.42 * (near - d)) / d;
        points[i].x -= dx * push; points[j].x += dx * push;
        points[i].y -= dy * push * 0.8; points[j].y += dy * push * 0.8;
      }
    }
    for (let i = 0; i < n; i += 1) {
      const p = points[i];
      p.x += 0.03 * (anchors[i].x - p.x);
      p.y += 0.03 * (anchors[i].y - p.y);
      p.x = Math.min(width - pad.x * 0.7, Math.max(pad.x * 0.7, p.x));
      p.y = Math.min(height - pad.y * 0.7, Math.max(pad.y * 0.7, p.y));
    }
  }
}

// The convex hull of points (Andrew's monotone chain).
export function hull(points) {
  const sorted = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
  if (sorted.length < 3) return sorted;
  const turn = (o, a, b) => (a.x - o.x) * (b.y - o.y) - (a.y - o.y) * (b.x - o.x);
  const half = (list) => {
    const chain = [];
    for (const p of list) {
      while (chain.length >= 2 && turn(chain[chain.length - 2], chain[chain.length - 1], p) <= 0) chain.pop();
      chain.push(p);
    }
    chain.pop();
    return chain;
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

// Where each label stands: the first of four sides that covers neither a coin nor another label. Exemplars choose first.
export function placeLabels(items, at, width) {
  const taken = items.map(({ id, radius }) => { const p = at.get(id); return [p.x - radius, p.y - radius, p.x + radius, p.y + radius]; });
  const result = new Map();
  const order = [...items.keys()].sort((a, b) => items[b].radius - items[a].radius || a - b);
  for (const i of order) {
    const { id, text, radius, size } = items[i];
    const p = at.get(id), w = text.length * size * 0.64, h = size * 1.05, gap = radius + 4;
    const sides = [
      ["start", gap, size * 0.36, [p.x + gap, p.y - h / 2, p.x + gap + w, p.y + h / 2]],
      ["end", -gap, size * 0.36, [p.x - gap - w, p.y - h / 2, p.x - gap, p.y + h / 2]],
      ["middle", 0, gap + size * 0.72, [p.x - w / 2, p.y + gap - 2, p.x + w / 2, p.y + gap + h]],
      ["middle", 0, -gap - 1, [p.x - w / 2, p.y - gap - h, p.x + w / 2, p.y - gap]],
    ];
    let best = null;
    for (const [anchor, dx, dy, box] of sides) {
      let cost = box[0] < 2 || box[2] > width - 2 ? 400 : 0;
      taken.forEach((other, k) => { if (k !== i) cost += overlap(box, other); });
      if (best === null || cost < best.cost - 1) best = { cost, anchor, dx, dy, box };
    }
    taken.push(best.box);
    result.set(id, { ...best, crowded: best.cost > 0.3 * w * h });
  }
  return result;
}

function overlap(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return w > 0 && h > 0 ? w * h : 0;
}

// What (nearly) all symbols of a market end in, and sentences without it.
let common = "";
export const brief = (text) => (common && text ? text.replaceAll(new RegExp(`${common.replace("/", "\\/")}(?![A-Za-z])`, "g"), "") : text);

// Coin names as people say them: what all symbols of a market end in is left away.
export function labels(ids) {
  common = "";
  for (const ending of ["-USDT", "/USDT", "_USDT", "USDT", "-USDC", "USDC", "-USD", "/USD", "USD"]) {
    const mine = ids.filter((id) => id.endsWith(ending) && id.length > ending.length);
    if (mine.length < 0.8 * ids.length || !ids.length) continue;
    common = ending;
    return new Map(ids.map((id) => [id, mine.includes(id) ? id.slice(0, -ending.length) : id]));
  }
  return new Map(ids.map((id) => [id, id.length > 14 ? `${id.slice(0, 13)}…` : id]));
}
