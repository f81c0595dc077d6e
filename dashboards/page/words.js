// Small things said in one way everywhere: numbers, times, elements, glyphs.
export const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(name, value);
  node.append(...children.filter(Boolean));
  return node;
}

const plain = new Intl.NumberFormat("en-GB");
const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
export const whole = (n) => (n === null || n === undefined ? "–" : plain.format(n));
export const short = (n) => (n === null || n === undefined ? "–" : n < 10000 ? plain.format(n) : compact.format(n));
export const fixed = (n, digits = 2) => (n === null || n === undefined ? "–" : n.toFixed(digits).replace("-", "−"));
export const signed = (n) => (n === null || n === undefined ? "–" : (n > 0 ? "+" : "") + fixed(n));
export const percent = (n, digits = 0) => (n === null || n === undefined ? "–" : `${(100 * n).toFixed(digits)}%`);
export const seconds = (s) => (s < 1 ? `${Math.round(1000 * s)} ms` : s < 120 ? `${s.toFixed(1)} s` : `${Math.round(s / 60)} min`);

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const two = (n) => String(n).padStart(2, "0");

// Event time, in UTC: the hour for what is near the newest event, the day for what is far from it.
export function when(iso, newest) {
  if (!iso) return "–";
  const t = new Date(iso);
  const far = newest && Math.abs(new Date(newest) - t) > 20 * 3600e3;
  const clock = `${two(t.getUTCHours())}:${two(t.getUTCMinutes())}`;
  const midnight = t.getUTCHours() + t.getUTCMinutes() + t.getUTCSeconds() === 0;
  if (far || (midnight && !newest)) return `${t.getUTCDate()} ${MONTHS[t.getUTCMonth()]}${midnight ? ` ${t.getUTCFullYear()}` : ` ${clock}`}`;
  return `${clock}:${two(t.getUTCSeconds())}`;
}

export const shoalTitle = (name, number) => (!name ? `shoal ${number}` : name.startsWith("shoal ") ? name : `${name}’s shoal`);

// Kinds of events: their group in the filter, and a glyph.
export const KINDS = {
  left: ["move", "M4 12h11M11 7l5 5-5 5M20 5v14"],
  joined: ["home", "M4 5v14M20 12H9M13 7l-5 5 5 5"],
  outcome: ["home", "M5 12.5l4.5 4.5L19 7.5"],
  split: ["shape", "M12 20v-7M12 13L6 6M12 13l6-7M6 10V6h4M18 10V6h-4"],
  merged: ["shape", "M6 5l6 7 6-7M12 12v8M8.5 16.5L12 20l3.5-3.5"],
  born: ["shape", "M12 5v14M5 12h14"],
  died: ["shape", "M6 12h12"],
  structure_shift: ["shape", "M4 16l5-8 4 6 3-4 4 6"],
  drift: ["shape", "M4 14c3-6 5-6 8-2s5 4 8-2"],
  depeg: ["chain", "M4 9h7M13 15h7M12 5l0 14"],
  price_regime: ["chain", "M4 17l6-6 4 3 6-8M15 6h5v5"],
  reorg: ["chain", "M6 6v12M6 12h6a6 6 0 006-6M18 3v3h-3"],
  gap: ["data", "M4 12h4M16 12h4M11 7v10M13 7v10"],
};
export const GROUPS = { all: "All", moves: "Moves", shape: "Shoals", chain: "Prices and chain", data: "Data" };
export const inGroup = (kind, group) => {
  const own = (KINDS[kind] || ["data"])[0];
  return group === "all" || own === group || (group === "moves" && (own === "move" || own === "home"));
};

export function glyph(kind) {
  const [group, path] = KINDS[kind] || ["data", "M12 6v7M12 17v1"];
  return el("span", { class: `glyph g-${group}`, "aria-hidden": "true" }, svg("svg", { viewBox: "0 0 24 24" }, svg("path", { d: path })));
}

export const BEHAVIOURS = {
  optimist: ["Optimists", "receive only"],
  pessimist: ["Pessimists", "send only"],
  positive_trader: ["Positive traders", "do both, balance grows"],
  negative_trader: ["Negative traders", "do both, balance shrinks"],
};

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
